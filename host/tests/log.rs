//! Goal: a log that nobody reads stops nobody. Method: the host's program with its standard error in a pipe that is never emptied; what it logs is several
//! times what a pipe holds (64 KiB), and then it must still answer.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Stdio;
use std::time::Duration;

use swiftcart_support::{Lifetime, Place, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The smallest component.
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
const MANIFEST: &str = "
apiVersion: core.oam.dev/v1beta1
kind: Application
metadata: {name: quiet, annotations: {version: 0.1.0, description: A component that does nothing}}
spec:
  components:
    - name: nothing
      type: component
      properties: {image: \"file://nothing.wasm\"}
      traits:
        - type: spreadscaler
          properties: {instances: 1}
";
/// Requests that are none; each is a record of some 200 bytes.
const MISTAKES: usize = 3_000;
const WAIT: Duration = Duration::from_secs(30);

async fn ask(address: &str, text: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(text.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("nothing.wasm"), COMPONENT).unwrap();
    let manifest = folder.path().join("quiet.yaml");
    std::fs::write(&manifest, MANIFEST).unwrap();
    let place = Place::open(&folder.path().join("data"), Lifetime::WithParent).unwrap();
    let address = format!("127.0.0.1:{}", place.port("admin").unwrap());
    let mut host = tokio::process::Command::new(env!("CARGO_BIN_EXE_swiftcart-host"));
    host.arg("run").arg("--manifest").arg(&manifest).arg("--artifact-root").arg(folder.path());
    host.arg("--cache-dir").arg(folder.path().join("cache")).args(["--admin-address", &address]);
    host.args(["--log-format", "json", "--log-filter", "debug"]).stderr(Stdio::piped()).kill_on_drop(true);
    let mut host = host.spawn().unwrap();
    let _unread = host.stderr.take();

    let request = "GET /healthz HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n";
    let alive = async || {
        let answer = ask(&address, request).await?;
        anyhow::ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        Ok(())
    };
    eventually(WAIT, "the host to answer", &alive).await.unwrap();
    for _ in 0..MISTAKES {
        tokio::time::timeout(WAIT, ask(&address, "no request\r\n\r\n")).await.unwrap().unwrap();
    }
    tokio::time::timeout(WAIT, alive()).await.unwrap().unwrap();
}
