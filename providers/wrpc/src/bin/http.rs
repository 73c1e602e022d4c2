//! The http provider as a program of its own; a host of wasmCloud v1 starts it.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    swiftcart_provider_wrpc::run::<swiftcart_provider_wrpc::programs::Http>().await
}
