//! A web server for guests to call. Invariant: it remembers the head of every request, and answers by path: `/silent` never, `/slow-head` after
//! two seconds, everything else at once with 200 and the request's body.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Target {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Target {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let heads = Arc::new(Mutex::new(Vec::new()));
        let remembered = heads.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, remembered.clone()));
            }
        });
        Ok(Self { address, heads })
    }

    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    /// The heads of all requests whose path holds this text.
    pub(crate) fn heads(&self, path: &str) -> Vec<String> {
        let heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        heads.iter().filter(|head| head.lines().next().is_some_and(|line| line.contains(path))).cloned().collect()
    }
}

/// The value of a header in a head.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

async fn serve(mut stream: TcpStream, heads: Arc<Mutex<Vec<String>>>) {
    let mut received = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        let text = String::from_utf8_lossy(&received).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            match stream.read(&mut chunk).await {
                Ok(count) if count > 0 => received.extend(chunk.iter().take(count)),
                _ => return,
            }
            continue;
        };
        heads.lock().unwrap_or_else(PoisonError::into_inner).push(head.to_owned());
        let path = head.split(' ').nth(1).unwrap_or_default();
        if path.starts_with("/silent") {
            std::future::pending::<()>().await;
        }
        if path.starts_with("/slow-head") {
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        // The body may still be on its way; nothing here depends on it.
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\nx-target: yes\r\n\r\n{body}",
            body.len()
        );
        let _ = stream.write_all(answer.as_bytes()).await;
        return;
    }
}
