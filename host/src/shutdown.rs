//! How the host ends. Two stages, each a token that anybody may wait for: first no new work is taken, then what still runs is dropped.
//! The second stage comes when all work is done, when its time is over, or when a second signal says that nobody wants to wait.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The two stages. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    /// Cancelled first: take no new work, finish what runs. Cancel it to end the host from inside.
    pub stop_accepting: CancellationToken,
    /// Cancelled last: whoever still works stops now. Cancel it when all work is done.
    pub drained: CancellationToken,
}

/// How the drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All work was done in time.
    Drained,
    /// Work was left when the time was over.
    TimedOut,
    /// A second signal came before the work was done.
    Forced,
}

impl Ending {
    /// 0 when nothing was lost, else 1.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Drained => 0,
            Self::TimedOut | Self::Forced => 1,
        }
    }
}

impl Shutdown {
    /// From now on SIGTERM and SIGINT do not kill this process; [`Listener::run`] acts on them. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the system does not let a handler be installed.
    pub fn listen(drain_timeout: Duration) -> std::io::Result<(Self, Listener)> {
        let shutdown = Self::default();
        let signals =
            Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
        Ok((shutdown.clone(), Listener { shutdown, signals, drain_timeout }))
    }
}

/// Where signals come from: the system, or a test.
trait NextSignal: Send {
    /// Waits for one and gives its name.
    fn next(&mut self) -> impl Future<Output = &'static str> + Send;
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl NextSignal for Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Moves a [`Shutdown`] through its stages.
pub struct Listener {
    shutdown: Shutdown,
    signals: Signals,
    drain_timeout: Duration,
}

impl Listener {
    /// Runs until the second stage is reached; both tokens are cancelled then.
    pub async fn run(self) -> Ending {
        drive(&self.shutdown, self.drain_timeout, self.signals).await
    }
}

async fn drive(shutdown: &Shutdown, drain_timeout: Duration, mut signals: impl NextSignal) -> Ending {
    tokio::select! {
        signal = signals.next() => tracing::info!(signal, drain_timeout_ms = drain_timeout.as_millis(), "stopping: no new work is taken"),
        () = shutdown.stop_accepting.cancelled() => tracing::info!("stopping from inside: no new work is taken"),
        () = shutdown.drained.cancelled() => {}
    }
    shutdown.stop_accepting.cancel();
    let ending = tokio::select! {
        biased;
        () = shutdown.drained.cancelled() => Ending::Drained,
        signal = signals.next() => {
            tracing::warn!(signal, "stopping now: work may be cut short");
            Ending::Forced
        }
        () = tokio::time::sleep(drain_timeout) => {
            tracing::warn!(drain_timeout_ms = drain_timeout.as_millis(), "stopping now: work was not done in time");
            Ending::TimedOut
        }
    };
    shutdown.drained.cancel();
    ending
}

#[cfg(test)]
mod tests {
    //! Signals come from a channel; one test sends this process a real SIGTERM. Only one drain is waited for, and it is short.
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tokio::sync::mpsc::{Receiver, Sender, channel};
    use tokio::task::JoinHandle;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(100);

    struct TestSignals(Receiver<&'static str>);

    impl NextSignal for TestSignals {
        async fn next(&mut self) -> &'static str {
            match self.0.recv().await {
                Some(signal) => signal,
                None => std::future::pending().await,
            }
        }
    }

    fn start(drain: Duration) -> (Shutdown, Sender<&'static str>, JoinHandle<Ending>) {
        let (sender, signals) = channel(4);
        let shutdown = Shutdown::default();
        let driven = shutdown.clone();
        let task = tokio::spawn(async move { drive(&driven, drain, TestSignals(signals)).await });
        (shutdown, sender, task)
    }

    #[tokio::test]
    async fn the_first_signal_drains_and_done_work_ends_it() {
        let (shutdown, signals, task) = start(LONG);
        tokio::time::sleep(SHORT).await;
        assert!(!shutdown.stop_accepting.is_cancelled(), "stopped without a signal");
        signals.try_send("SIGTERM").unwrap();
        shutdown.stop_accepting.cancelled().await;
        assert!(!shutdown.drained.is_cancelled());
        shutdown.drained.cancel();
        let ending = task.await.unwrap();
        assert_eq!((ending, ending.exit_code()), (Ending::Drained, 0));
    }

    #[tokio::test]
    async fn the_drain_has_a_deadline() {
        let (shutdown, signals, task) = start(SHORT);
        let begun = tokio::time::Instant::now();
        signals.try_send("SIGINT").unwrap();
        let ending = task.await.unwrap();
        assert_eq!((ending, ending.exit_code()), (Ending::TimedOut, 1));
        assert!(begun.elapsed() >= SHORT);
        assert!(shutdown.drained.is_cancelled());
    }

    #[tokio::test]
    async fn a_second_signal_ends_it_now() {
        let (shutdown, signals, task) = start(LONG);
        let begun = tokio::time::Instant::now();
        signals.try_send("SIGTERM").unwrap();
        signals.try_send("SIGTERM").unwrap();
        assert_eq!(task.await.unwrap(), Ending::Forced);
        assert!(begun.elapsed() < LONG);
        assert!(shutdown.stop_accepting.is_cancelled() && shutdown.drained.is_cancelled());
    }

    #[tokio::test]
    async fn it_can_be_ended_from_inside() {
        let (shutdown, _signals, task) = start(LONG);
        shutdown.stop_accepting.cancel();
        tokio::time::sleep(SHORT).await;
        shutdown.drained.cancel();
        assert_eq!(task.await.unwrap(), Ending::Drained);

        let (shutdown, _signals, task) = start(LONG);
        shutdown.drained.cancel();
        assert_eq!(task.await.unwrap(), Ending::Drained);
        assert!(shutdown.stop_accepting.is_cancelled());
    }

    #[tokio::test]
    async fn a_real_signal_is_caught() {
        let (shutdown, listener) = Shutdown::listen(LONG).unwrap();
        let task = tokio::spawn(listener.run());
        let kill = tokio::process::Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status();
        assert!(kill.await.unwrap().success());
        tokio::time::timeout(LONG, shutdown.stop_accepting.cancelled()).await.unwrap();
        shutdown.drained.cancel();
        assert_eq!(task.await.unwrap(), Ending::Drained);
    }
}
