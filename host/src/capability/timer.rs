//! Calls a component that exports `swiftcart:timer/handler` at an interval; at once again while it finds work.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::bindings::exports::swiftcart::timer::handler::Failure;
use crate::limits;
use crate::runtime::{CallContext, CallError, Chain, Slot, TraceContext, slice};

/// The interface that a component must export, as links name it.
pub const EXPORT: &str = "swiftcart:timer/handler";

/// One timer of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer {
    /// What the component is told.
    pub name: String,
    /// Between two ticks.
    pub interval: Duration,
}

/// Reads the link's `timers`: `name=milliseconds` separated by commas.
///
/// # Errors
/// What is wrong and what is expected.
pub fn parse(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Vec<Timer>, String> {
    let mut timers = Vec::new();
    for (key, value) in pairs {
        if key != "timers" {
            return Err(format!(
                "unknown key {key}: a timer link has the key `timers` only, as in `sweep=1000,retention=60000`"
            ));
        }
        for entry in value.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let timer = entry
                .split_once('=')
                .and_then(|(name, interval)| Some((name.trim(), interval.trim().parse::<u64>().ok()?)));
            match timer {
                Some((name, interval_ms)) if !name.is_empty() && (10..=86_400_000).contains(&interval_ms) => {
                    timers.push(Timer { name: name.to_owned(), interval: Duration::from_millis(interval_ms) });
                }
                _ => {
                    return Err(format!(
                        "timers: {entry:?} is not `name=milliseconds` with 10 to 86400000 milliseconds"
                    ));
                }
            }
        }
    }
    if timers.is_empty() {
        return Err("timers: missing; name at least one, as in `sweep=1000`".to_owned());
    }
    Ok(timers)
}

/// Ticks until `shutdown`; a tick that runs is finished first.
pub async fn run(timer: Timer, slot: Arc<Slot>, shutdown: CancellationToken) {
    let mut interval = tokio::time::interval_at(Instant::now() + timer.interval, timer.interval);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = interval.tick() => {}
        }
        while !shutdown.is_cancelled() {
            match tick(&timer.name, &slot).await {
                Ok(Ok(0)) => break,
                Ok(Ok(done)) => metrics::counter!("swiftcart_timer_work_total", "timer" => timer.name.clone())
                    .increment(u64::from(done)),
                Ok(Err(Failure::Failed(reason))) => {
                    metrics::counter!("swiftcart_timer_failures_total", "timer" => timer.name.clone()).increment(1);
                    tracing::warn!(timer = %timer.name, component = %slot.name, reason, "tick failed; the next one comes as usual");
                    break;
                }
                Err(error) => {
                    metrics::counter!("swiftcart_timer_failures_total", "timer" => timer.name.clone()).increment(1);
                    tracing::warn!(timer = %timer.name, component = %slot.name, %error, "tick could not run; the next one comes as usual");
                    break;
                }
            }
        }
    }
}

async fn tick(name: &str, slot: &Slot) -> Result<Result<u32, Failure>, CallError> {
    let component = slot.current()?;
    let mut call = CallContext::new(TraceContext::root(), limits::BACKGROUND_CALL);
    call.chain = Chain::begin(&component.identity.name, EXPORT, &call.trace, || name.to_owned());
    let mut lease = component.lease(call).await?;
    let timeout = lease.timeout();
    let (store, instance) = lease.parts();
    let calling = async {
        let handle = component.typed::<(&str,), (Result<u32, Failure>,)>(&mut *store, &instance, EXPORT, "tick")?;
        handle.call_async(&mut *store, (name,)).await
    };
    let outcome = slice::within(timeout, calling).await;
    lease.conclude(outcome).map(|(answer,)| answer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn read(value: &str) -> Result<Vec<Timer>, String> {
        parse([("timers".to_owned(), value.to_owned())])
    }

    /// Goal: the link's text means what it says, and mistakes are named. Method: good and bad texts.
    #[test]
    fn reads_timers() {
        let timers = read("sweep=1000, retention=60000").unwrap();
        assert_eq!(timers[0], Timer { name: "sweep".to_owned(), interval: Duration::from_secs(1) });
        assert_eq!(timers[1].name, "retention");
        for bad in ["", "sweep", "sweep=", "sweep=fast", "=1000", "sweep=1", "sweep=-5"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(parse([("timer".to_owned(), "a=10".to_owned())]).unwrap_err().contains("unknown key"));
    }
}
