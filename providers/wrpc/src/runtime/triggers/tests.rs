//! One task for a link and never two, against a NATS that is not needed for it.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;

#[derive(Default)]
struct Counts {
    running: AtomicU32,
    most: AtomicU32,
    begun: AtomicU32,
}

/// Works until it is stopped, and takes a second to stop.
struct Slow(Arc<Counts>);

impl Trigger for Slow {
    fn work(&self, pairs: Pairs, _target: Target, stop: CancellationToken) -> Result<Running, String> {
        if pairs.contains_key("wrong") {
            return Err("`wrong` is wrong".to_owned());
        }
        let counts = self.0.clone();
        Ok(Box::pin(async move {
            counts.begun.fetch_add(1, Ordering::SeqCst);
            let running = counts.running.fetch_add(1, Ordering::SeqCst) + 1;
            counts.most.fetch_max(running, Ordering::SeqCst);
            stop.cancelled().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            counts.running.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }))
    }
}

/// A client of NATS that never gets through.
async fn nats() -> async_nats::Client {
    async_nats::ConnectOptions::new().retry_on_initial_connect().connect("nats://127.0.0.1:1").await.unwrap()
}

async fn triggers() -> (Arc<Triggers<Slow>>, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let origin = Origin { nats: nats().await, lattice: "default".to_owned(), id: "source".to_owned() };
    (Triggers::new(Slow(counts.clone()), Pairs::new(), origin), counts)
}

fn link(target: &str, settings: &[(&str, &str)]) -> OwnLink {
    let id = LinkId { peer: target.to_owned(), name: "default".to_owned(), package: "n:p".to_owned() };
    let pairs = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    OwnLink { id, role: Role::Source, interfaces: vec!["n:p/i".to_owned()], pairs }
}

async fn settle() {
    tokio::time::sleep(Duration::from_secs(5)).await;
}

/// Goal: the same link again changes nothing; other settings, and a deletion with a put right after it, wait for the old task.
#[tokio::test(start_paused = true)]
async fn a_link_has_one_task_at_a_time() {
    let (triggers, counts) = triggers().await;
    triggers.put_link(link("a", &[("k", "1")]));
    settle().await;
    triggers.put_link(link("a", &[("k", "1")]));
    settle().await;
    assert_eq!(counts.begun.load(Ordering::SeqCst), 1);
    triggers.put_link(link("a", &[("k", "2")]));
    let id = link("a", &[]).id;
    triggers.delete_link(&id);
    triggers.put_link(link("a", &[("k", "3")]));
    settle().await;
    let loads = (counts.running.load(Ordering::SeqCst), counts.most.load(Ordering::SeqCst));
    assert_eq!(loads, (1, 1));
    triggers.delete_link(&id);
    settle().await;
    assert_eq!(counts.running.load(Ordering::SeqCst), 0);
}

/// Goal: what is refused is told by the health check, and gone with its link; closing waits for what runs.
#[tokio::test(start_paused = true)]
async fn what_is_refused_is_told() {
    let (triggers, counts) = triggers().await;
    triggers.put_link(link("good", &[]));
    triggers.put_link(link("bad", &[("wrong", "1")]));
    settle().await;
    let health = triggers.health().await;
    assert_eq!(health, Health::of(["the link to bad: `wrong` is wrong".to_owned()].into_iter()));
    triggers.delete_link(&link("bad", &[]).id);
    assert_eq!(triggers.health().await, Health::of(std::iter::empty()));
    triggers.close().await;
    assert_eq!((counts.begun.load(Ordering::SeqCst), counts.running.load(Ordering::SeqCst)), (1, 0));
}
