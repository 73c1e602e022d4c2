//! The load generator. In the open loop a request is due at a time that does not depend on earlier answers, and its latency counts from then: a
//! stall is seen by every request that was due during it (no coordinated omission). It shares the machine with what it loads, so it is lean: connections
//! stay open, tokens and bodies are made before, and no task is made for a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use hdrhistogram::Histogram;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

/// An answer later than this counts as this late, and is not waited for longer.
const LONGEST: Duration = Duration::from_secs(60);
/// Connections of the open loop: more than are ever busy at once, unless the server stalls. Then requests wait here, and the wait counts.
const OPEN_CONNECTIONS: usize = 256;
/// Requests that are due and wait for a connection; beyond it their sending is late, which counts as well.
const WAITING: usize = 65_536;
/// Errors that are kept in words; all are counted.
const WORDS: usize = 20;

/// What is sent, and what counts as an answer.
pub(crate) trait Traffic: Send + Sync + 'static {
    /// What is kept of a good answer.
    type Answer: Send + 'static;

    /// The request of this number, with its `Host`.
    fn request(&self, number: u64) -> anyhow::Result<Request<Full<Bytes>>>;

    /// Reads an answer; an error in words.
    fn judge(&self, status: StatusCode, body: &Bytes) -> Result<Self::Answer, String>;
}

/// When the next request is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// As soon as the one before was answered, by so many clients.
    Closed(usize),
    /// So many per second, whether or not earlier ones were answered.
    Open(f64),
}

/// How to load.
pub(crate) struct Plan {
    pub(crate) pace: Pace,
    pub(crate) duration: Duration,
    /// Ends the load before its time.
    pub(crate) stop: Arc<AtomicBool>,
}

impl Plan {
    /// A load of a fixed length.
    pub(crate) fn new(pace: Pace, duration: Duration) -> Self {
        Self { pace, duration, stop: Arc::new(AtomicBool::new(false)) }
    }
}

/// What came back.
pub(crate) struct Outcome<A> {
    /// Microseconds.
    pub(crate) latency_us: Histogram<u64>,
    /// What was kept of good answers.
    pub(crate) answers: Vec<A>,
    /// How many were none.
    pub(crate) errors: u64,
    /// The first of them in words.
    pub(crate) words: Vec<String>,
    /// From the first request to the last answer.
    pub(crate) elapsed: Duration,
}

impl<A> Outcome<A> {
    fn new() -> anyhow::Result<Self> {
        let highest = u64::try_from(LONGEST.as_micros())?;
        let latency_us = Histogram::new_with_bounds(1, highest, 3)?;
        Ok(Self { latency_us, answers: Vec::new(), errors: 0, words: Vec::new(), elapsed: Duration::ZERO })
    }

    fn add(&mut self, latency: Duration, answer: Result<A, String>) {
        let latency = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency_us.saturating_record(latency.max(1));
        match answer {
            Ok(answer) => self.answers.push(answer),
            Err(words) => {
                self.errors += 1;
                if self.words.len() < WORDS {
                    self.words.push(words);
                }
            }
        }
    }

    fn join(&mut self, other: Self) -> anyhow::Result<()> {
        self.latency_us.add(other.latency_us)?;
        self.answers.extend(other.answers);
        self.errors += other.errors;
        self.words.extend(other.words);
        self.words.truncate(WORDS);
        Ok(())
    }

    /// Good answers per second.
    pub(crate) fn throughput(&self) -> f64 {
        self.answers.len() as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// Milliseconds.
    pub(crate) fn latency_ms(&self, quantile: f64) -> f64 {
        self.latency_us.value_at_quantile(quantile) as f64 / 1000.0
    }
}

/// Runs the plan and waits for every answer. All connections are open before the first request is due.
pub(crate) async fn run<T: Traffic>(
    traffic: Arc<T>,
    address: SocketAddr,
    plan: &Plan,
) -> anyhow::Result<Outcome<T::Answer>> {
    let clients = match plan.pace {
        Pace::Closed(clients) => clients,
        Pace::Open(_) => OPEN_CONNECTIONS,
    };
    let mut connections = Vec::with_capacity(clients);
    for _ in 0..clients {
        connections.push(Connection::open(address).await?);
    }
    let began = Instant::now();
    let end = began + plan.duration;
    let (schedule, pacing) = match plan.pace {
        Pace::Closed(_) => (Schedule::Closed { next: Arc::new(AtomicU64::new(0)), end, stop: plan.stop.clone() }, None),
        Pace::Open(rate) => {
            let (sender, receiver) = mpsc::channel(WAITING);
            let stop = plan.stop.clone();
            let pacing = tokio::task::spawn_blocking(move || pace(rate, began, end, &stop, &sender));
            (Schedule::Open(Arc::new(Mutex::new(receiver))), Some(pacing))
        }
    };
    let mut workers = JoinSet::new();
    for connection in connections {
        workers.spawn(work(traffic.clone(), connection, schedule.clone()));
    }
    let mut outcome = Outcome::new()?;
    while let Some(part) = workers.join_next().await {
        outcome.join(part??)?;
    }
    outcome.elapsed = began.elapsed();
    if let Some(pacing) = pacing {
        pacing.await?;
    }
    Ok(outcome)
}

/// Says when requests are due. A thread of its own, because the runtime's timer counts in whole milliseconds.
fn pace(rate: f64, began: Instant, end: Instant, stop: &AtomicBool, sender: &mpsc::Sender<(u64, Instant)>) {
    for number in 0_u64.. {
        let due = began + Duration::from_secs_f64(number as f64 / rate);
        if due >= end || stop.load(Ordering::Relaxed) {
            return;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if sender.blocking_send((number, due)).is_err() {
            return;
        }
    }
}

#[derive(Clone)]
enum Schedule {
    Closed { next: Arc<AtomicU64>, end: Instant, stop: Arc<AtomicBool> },
    Open(Arc<Mutex<mpsc::Receiver<(u64, Instant)>>>),
}

impl Schedule {
    /// The next request and when it is due; `None` when all was sent.
    async fn next(&self) -> Option<(u64, Instant)> {
        match self {
            Self::Closed { next, end, stop } => {
                let now = Instant::now();
                (now < *end && !stop.load(Ordering::Relaxed)).then(|| (next.fetch_add(1, Ordering::Relaxed), now))
            }
            Self::Open(due) => due.lock().await.recv().await,
        }
    }
}

async fn work<T: Traffic>(
    traffic: Arc<T>,
    mut connection: Connection,
    schedule: Schedule,
) -> anyhow::Result<Outcome<T::Answer>> {
    let mut outcome = Outcome::new()?;
    while let Some((number, due)) = schedule.next().await {
        let answer = match connection.send(traffic.request(number)?).await {
            Ok((status, body)) => traffic.judge(status, &body),
            Err(error) => Err(format!("{error:#}")),
        };
        outcome.add(due.elapsed(), answer);
    }
    Ok(outcome)
}

/// One HTTP/1.1 connection that is made again when it was lost.
struct Connection {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    /// What drives it; ends with it.
    driver: JoinSet<()>,
}

impl Connection {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        // Why it ended is told by the request that it failed.
        driver.spawn(async move { drop(connection.await) });
        Ok(Self { address, sender, driver })
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Bytes)> {
        if self.sender.ready().await.is_err() {
            // The server closes what was idle for long; nothing was sent yet.
            self.driver.shutdown().await;
            *self = Self::open(self.address).await?;
            self.sender.ready().await?;
        }
        let answer = async {
            let answer = self.sender.send_request(request).await?;
            let (parts, body) = answer.into_parts();
            anyhow::Ok((parts.status, body.collect().await?.to_bytes()))
        };
        tokio::time::timeout(LONGEST, answer).await.context("no answer")?
    }
}

/// The address behind `http://ip:port`.
pub(crate) fn address_of(url: &str) -> anyhow::Result<SocketAddr> {
    let authority = url.strip_prefix("http://").with_context(|| format!("{url} is not http"))?;
    authority.trim_end_matches('/').parse().with_context(|| format!("{url} is no address and port"))
}
