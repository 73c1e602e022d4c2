//! The same as the component `mirror` (`tests/guests/mirror`), as one would write it natively: the same types, the same library for JSON, the host's
//! allocator, a thread per core. It is this program once more, as a process of its own.

use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::Context as _;
use axum::Json;
use axum::routing::post;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// The hidden command of this program that serves.
pub(crate) const COMMAND: &str = "serve-echo";

#[derive(Serialize, Deserialize)]
struct Document {
    id: String,
    currency: String,
    items: Vec<Item>,
}

#[derive(Serialize, Deserialize)]
struct Item {
    sku: String,
    qty: u32,
    price: i64,
}

/// Serves until it is killed; the first line of its output is the address.
pub(crate) fn serve() -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("{}", listener.local_addr()?);
        let app = axum::Router::new().route("/echo", post(async |Json(document): Json<Document>| Json(document)));
        Ok(axum::serve(axum::serve::ListenerExt::tap_io(listener, |stream| drop(stream.set_nodelay(true))), app)
            .await?)
    })
}

/// The running server.
pub(crate) struct Native {
    child: Child,
    address: SocketAddr,
}

impl Native {
    /// Starts it.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("the path of this program")?;
        let mut command = Command::new(program);
        let mut child = command.arg(COMMAND).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let output = child.stdout.take().context("the server has no output")?;
        let line = BufReader::new(output).lines().next_line().await?.context("the server ended at once")?;
        Ok(Self { child, address: line.parse().with_context(|| format!("{line} is no address"))? })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the server has ended")
    }

    /// Ends it.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}
