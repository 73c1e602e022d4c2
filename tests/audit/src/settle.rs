//! Waiting until nothing is left to happen. Invariant: a shop is settled only if two looks in a row found nothing open and nothing was published between
//! them, since a consumer's work may be the next one's.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::collect::databases::Databases;
use crate::collect::kafka;
use crate::sources::Sources;

const PAUSE: Duration = Duration::from_millis(500);

/// Waits; gives what is still open at the deadline, in words: nothing when all is settled.
///
/// # Errors
/// When a system could not be asked at all until the deadline.
pub async fn settle(sources: &Sources, bound: Duration) -> anyhow::Result<Vec<String>> {
    let end = Instant::now() + bound;
    let mut before = None;
    loop {
        let looked = look(sources).await;
        let late = Instant::now() >= end;
        match looked {
            Ok((open, published)) if open.is_empty() => {
                if before == Some(published) {
                    return Ok(open);
                }
                before = Some(published);
            }
            Ok((open, _)) if late => return Ok(open),
            Err(error) if late => return Err(error),
            // Not yet, or a system that is just starting.
            Ok(_) | Err(_) => before = None,
        }
        sleep(PAUSE).await;
    }
}

async fn look(sources: &Sources) -> anyhow::Result<(Vec<String>, i64)> {
    let databases = Databases::open(sources).await?;
    let mut open = databases.unfinished().await?;
    let progress = kafka::lags(&sources.kafka_bootstrap_servers).await?;
    let behind = progress.lags.iter().filter(|lag| lag.messages > 0);
    open.extend(behind.map(|lag| format!("{} is {} messages behind in {}", lag.group, lag.messages, lag.topic)));
    Ok((open, progress.published))
}
