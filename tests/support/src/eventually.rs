//! Waiting for something to become true. Invariant: every wait has a deadline and says what it waited for.

use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep, timeout_at};

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(25);

/// Repeats an attempt until it succeeds, and returns what it gave.
///
/// # Errors
/// At the deadline: what was waited for, and why the last attempt failed.
pub async fn eventually<T, F, A>(deadline: Duration, what: &str, mut attempt: F) -> anyhow::Result<T>
where
    F: FnMut() -> A,
    A: Future<Output = anyhow::Result<T>>,
{
    let end = Instant::now() + deadline;
    let mut last = None;
    loop {
        match timeout_at(end, attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => last = Some(error),
            Err(_) => {}
        }
        if Instant::now() + PAUSE >= end {
            match last {
                Some(error) => bail!("waited {deadline:?} for {what}; the last attempt said: {error:#}"),
                None => bail!("waited {deadline:?} for {what}; no attempt came to an end"),
            }
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn it_gives_the_first_success_or_says_what_was_missing() {
        let mut count = 0;
        let attempt = || {
            count += 1;
            let now = count;
            async move { if now == 3 { Ok(now) } else { bail!("only {now}") } }
        };
        assert_eq!(eventually(Duration::from_secs(5), "three", attempt).await.unwrap(), 3);
        let error =
            eventually(Duration::from_millis(60), "the moon", || async { Err::<(), _>(anyhow::anyhow!("not yet")) })
                .await
                .unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("the moon") && text.contains("not yet"), "{text}");
    }
}
