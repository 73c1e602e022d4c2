//! Load while something else happens. Requests are due at times that do not depend on earlier answers, so a stall is seen by every request that was
//! due during it. Invariant: every request that was due is sent and accounted for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::{JoinHandle, JoinSet};

/// Between two rounds of sending.
const ROUND: Duration = Duration::from_millis(10);

/// One answer.
#[derive(Debug)]
pub(crate) struct Answered {
    /// When it was sent.
    pub(crate) sent: Instant,
    /// From the time when it was due.
    pub(crate) latency: Duration,
    /// What it said, or what went wrong.
    pub(crate) outcome: Result<String, String>,
}

/// A load that runs until it is ended.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    task: JoinHandle<anyhow::Result<Vec<Answered>>>,
}

impl Load {
    /// Sends so many requests per second. The function gets the number of the request.
    pub(crate) fn start<R, F>(per_second: u32, request: R) -> Self
    where
        R: Fn(u64) -> F + Send + Sync + 'static,
        F: Future<Output = Result<String, String>> + Send + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let (mut running, mut answers) = (JoinSet::new(), Vec::new());
            let (began, mut number) = (Instant::now(), 0_u64);
            let mut rounds = tokio::time::interval(ROUND);
            while !stopped.load(Ordering::Relaxed) {
                rounds.tick().await;
                let due_by_now = (began.elapsed().as_secs_f64() * f64::from(per_second)) as u64;
                while number < due_by_now {
                    let due = began + Duration::from_secs_f64(number as f64 / f64::from(per_second));
                    let (sent, answer) = (Instant::now(), request(number));
                    running.spawn(async move {
                        let outcome = answer.await;
                        Answered { sent, latency: due.elapsed(), outcome }
                    });
                    number += 1;
                }
                while let Some(answer) = running.try_join_next() {
                    answers.push(answer.context("a request ended in a panic")?);
                }
            }
            while let Some(answer) = running.join_next().await {
                answers.push(answer.context("a request ended in a panic")?);
            }
            Ok(answers)
        });
        Self { stop, task }
    }

    /// Sends nothing more and waits for all answers.
    pub(crate) async fn end(self) -> anyhow::Result<Vec<Answered>> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

/// What a load came to, for people.
pub(crate) fn summary(answers: &[Answered]) -> String {
    let mut latencies: Vec<Duration> = answers.iter().map(|answer| answer.latency).collect();
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = (latencies.len() as f64 * share) as usize;
        latencies.get(index.min(latencies.len().saturating_sub(1))).copied().unwrap_or_default()
    };
    let first = answers.iter().map(|answer| answer.sent).min();
    let last = answers.iter().map(|answer| answer.sent).max();
    let seconds = first.zip(last).map_or(0.0, |(first, last)| (last - first).as_secs_f64()).max(0.001);
    format!(
        "{} requests in {seconds:.1} s ({:.0}/s), {} failed; latency p50 {:?}, p99 {:?}, highest {:?}",
        answers.len(),
        answers.len() as f64 / seconds,
        failed(answers).len(),
        at(0.5),
        at(0.99),
        at(1.0),
    )
}

/// What went wrong, each with its words.
pub(crate) fn failed(answers: &[Answered]) -> Vec<&String> {
    answers.iter().filter_map(|answer| answer.outcome.as_ref().err()).collect()
}
