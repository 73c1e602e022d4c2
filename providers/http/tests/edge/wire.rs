//! HTTP/1.1 by hand, because a proper client would not send what is tested here.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// All values of a header, joined.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> =
            self.headers.iter().filter(|(given, _)| given == name).map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks the form of a problem document and gives its name.
    #[track_caller]
    pub fn problem(&self) -> String {
        assert_eq!(self.header("content-type").as_deref(), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.header("cache-control").as_deref(), Some("no-store"));
        assert_eq!(self.header("x-content-type-options").as_deref(), Some("nosniff"));
        let document = self.json();
        assert_eq!(document["status"], self.status);
        let trace_id = document["traceId"].as_str().unwrap();
        assert!(trace_id.len() == 32 && trace_id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{trace_id}");
        assert!(!document["title"].as_str().unwrap().is_empty() && !document["detail"].as_str().unwrap().is_empty());
        document["type"].as_str().unwrap().strip_prefix("/problems/").unwrap().to_owned()
    }
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The other side may stop reading in the middle.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
    }

    /// The next answer, or `None` if the connection ends before one.
    pub async fn reply(&mut self) -> Option<Reply> {
        self.reply_to(false).await
    }

    /// An answer to HEAD has a length and no body.
    pub async fn reply_to_head(&mut self) -> Option<Reply> {
        self.reply_to(true).await
    }

    async fn reply_to(&mut self, head_only: bool) -> Option<Reply> {
        let end = loop {
            if let Some(at) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            if !self.more().await {
                return None;
            }
        };
        let head = String::from_utf8(self.buffer.drain(..end + 4).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut reply = Reply { status, headers, body: Vec::new() };
        let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
        if !head_only {
            while self.buffer.len() < length {
                if !self.more().await {
                    return None;
                }
            }
            reply.body = self.buffer.drain(..length).collect();
        }
        Some(reply)
    }

    async fn more(&mut self) -> bool {
        self.stream.read_buf(&mut self.buffer).await.is_ok_and(|count| count > 0)
    }

    /// Waits until the other side closes, and says whether anything came before.
    pub async fn closed(&mut self) -> bool {
        while self.more().await {}
        self.buffer.is_empty()
    }

    /// Everything that comes until the connection ends.
    pub async fn rest(mut self) -> Vec<u8> {
        while self.more().await {}
        self.buffer
    }
}
