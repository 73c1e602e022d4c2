//! How to tell that a service is ready. Invariant: each check is a request of the service's own protocol that only a working service answers.

use std::net::Ipv4Addr;

use anyhow::{Context, ensure};
use sqlx::{Connection, PgConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::http_client;
use crate::lattice::Lattice;

/// The question that a ready service answers.
#[derive(Clone, Debug)]
pub(crate) enum Ready {
    /// A connection and one statement.
    Postgres { url: String },
    /// AUTH and PING.
    Redis { port: u16, password: String },
    /// A page that answers 2xx.
    Http { url: String },
    /// At least so many live brokers in the cluster's metadata.
    Kafka { port: u16, brokers: u32 },
    /// The registry's version page, or its refusal of somebody who did not log in.
    Registry { port: u16, locked: bool },
    /// SMTP greeting and a web page.
    Mail { smtp_port: u16, url: String },
    /// A list of applications.
    Wadm { nats_url: String },
    /// An answer of this very host to a ping.
    LatticeHost { nats_url: String, lattice: String, id: String },
}

impl Ready {
    pub(crate) async fn check(&self) -> anyhow::Result<()> {
        match self {
            Self::Postgres { url } => {
                let mut connection = PgConnection::connect(url).await?;
                sqlx::query("SELECT 1").execute(&mut connection).await?;
                connection.close().await?;
                Ok(())
            }
            Self::Redis { port, password } => redis(*port, password).await,
            Self::Http { url } => http(url).await,
            Self::Kafka { port, brokers } => {
                let live = kafka(*port).await?;
                ensure!(live >= *brokers, "{live} of {brokers} brokers are live");
                Ok(())
            }
            Self::Registry { port, locked } => {
                let answer = client()?.get(format!("http://127.0.0.1:{port}/v2/")).send().await?;
                let expected = if *locked { 401 } else { 200 };
                ensure!(answer.status() == expected, "the registry answers {}", answer.status());
                Ok(())
            }
            Self::Mail { smtp_port, url } => {
                let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, *smtp_port)).await?;
                let mut greeting = [0; 3];
                stream.read_exact(&mut greeting).await?;
                ensure!(&greeting == b"220", "the mail server greets with something else than 220");
                stream.write_all(b"QUIT\r\n").await?;
                http(url).await
            }
            Self::Wadm { nats_url } => Lattice::connect(nats_url, "default").await?.applications().await.map(drop),
            Self::LatticeHost { nats_url, lattice, id } => {
                let hosts = Lattice::connect(nats_url, lattice).await?.ping_until(id).await?;
                ensure!(hosts, "the host {id} does not answer a ping");
                Ok(())
            }
        }
    }
}

fn client() -> anyhow::Result<reqwest::Client> {
    Ok(http_client().build()?)
}

async fn http(url: &str) -> anyhow::Result<()> {
    let answer = client()?.get(url).send().await.with_context(|| format!("asking {url}"))?;
    let status = answer.status();
    ensure!(status.is_success(), "{url} answers {status}: {}", answer.text().await.unwrap_or_default());
    Ok(())
}

async fn redis(port: u16, password: &str) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(format!("AUTH {password}\r\nPING\r\nQUIT\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer).await?;
    ensure!(answer.contains("+PONG"), "Redis answers {answer:?}");
    Ok(())
}

/// Asks for the cluster's metadata (request 3, version 7, without topics) and counts the brokers in the answer.
/// <https://kafka.apache.org/protocol#The_Messages_Metadata>
async fn kafka(port: u16) -> anyhow::Result<u32> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let mut request = Vec::new();
    request.extend(3_i16.to_be_bytes()); // Metadata
    request.extend(7_i16.to_be_bytes()); // version
    request.extend(1_i32.to_be_bytes()); // correlation id
    request.extend((-1_i16).to_be_bytes()); // no client id
    request.extend(0_i32.to_be_bytes()); // no topics
    request.push(0); // do not create topics
    stream.write_all(&u32::try_from(request.len())?.to_be_bytes()).await?;
    stream.write_all(&request).await?;
    let length = stream.read_u32().await?;
    ensure!((16..1_000_000).contains(&length), "Kafka answers with {length} bytes");
    let _correlation_id = stream.read_u32().await?;
    let _throttle_ms = stream.read_u32().await?;
    Ok(stream.read_u32().await?)
}
