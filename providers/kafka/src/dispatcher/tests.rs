//! The dispatcher without a broker: events go in by hand, a recorder stands for the broker client, and handlers follow
//! a script.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::HashMap;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::assignment::{Offsets, TopicPartition};
use crate::config::ConsumerConfig;
use crate::delivery::{Graveyard, Workshop};
use crate::dispatcher::{Control, Dispatcher, Ended, Event, Rules};
use crate::error::ProduceError;
use crate::message::{Failure, Handler, Header, Message, Record};
use crate::status::Status;

/// What the broker client was asked, and the last offset committed per partition.
type Recorded = (Vec<String>, HashMap<i32, i64>);

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Recorded>>);

impl Recorder {
    fn calls(&self) -> Vec<String> {
        self.0.lock().unwrap().0.clone()
    }

    fn committed(&self, partition: i32) -> Option<i64> {
        self.0.lock().unwrap().1.get(&partition).copied()
    }
}

impl Control for Recorder {
    fn pause(&self, partition: &TopicPartition) {
        self.0.lock().unwrap().0.push(format!("pause {}", partition.partition));
    }

    fn resume(&self, partition: &TopicPartition) {
        self.0.lock().unwrap().0.push(format!("resume {}", partition.partition));
    }

    fn commit(&self, offsets: &Offsets) {
        self.0.lock().unwrap().1.extend(offsets.iter().map(|(partition, offset)| (partition.partition, *offset)));
    }
}

/// Answers by the script of a payload: its letters are the answers to attempt 1, 2, ...: `o`k, `r`etry, re`j`ect,
/// `d`own, `p`anic, `s`leep 150 ms then ok.
#[derive(Default)]
struct Script {
    begun: Mutex<Vec<(i64, u32)>>,
    ended: Mutex<Vec<i64>>,
    together: Mutex<(usize, usize)>,
}

#[async_trait]
impl Handler for Script {
    async fn handle(&self, message: &Message) -> Result<(), Failure> {
        self.begun.lock().unwrap().push((message.offset, message.attempt));
        {
            let mut together = self.together.lock().unwrap();
            together.0 += 1;
            together.1 = together.1.max(together.0);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.together.lock().unwrap().0 -= 1;
        let letter = message.payload.get(message.attempt as usize - 1).or(message.payload.last());
        match letter {
            Some(b'r') => return Err(Failure::Retry("later".to_owned())),
            Some(b'j') => return Err(Failure::Reject("never".to_owned())),
            Some(b'd') => return Err(Failure::DependencyDown("down".to_owned())),
            Some(b'p') => panic!("scripted"),
            Some(b's') => tokio::time::sleep(Duration::from_millis(150)).await,
            _ => {}
        }
        self.ended.lock().unwrap().push(message.offset);
        Ok(())
    }

    fn version(&self) -> String {
        "test".to_owned()
    }
}

/// Refuses the first records, then keeps them.
#[derive(Default)]
struct Grave {
    refusals: Mutex<u32>,
    buried: Mutex<Vec<Record>>,
}

#[async_trait]
impl Graveyard for Grave {
    async fn bury(&self, record: Record) -> Result<(), ProduceError> {
        let mut refusals = self.refusals.lock().unwrap();
        if *refusals > 0 {
            *refusals -= 1;
            return Err(ProduceError::Unacknowledged("broker away".to_owned()));
        }
        self.buried.lock().unwrap().push(record);
        Ok(())
    }
}

struct Bench {
    events: mpsc::Sender<Event>,
    script: Arc<Script>,
    grave: Arc<Grave>,
    recorder: Recorder,
    status: watch::Receiver<Status>,
    shutdown: CancellationToken,
    task: JoinHandle<(Ended, Offsets)>,
}

fn partition(number: i32) -> TopicPartition {
    TopicPartition { topic: "t".into(), partition: number }
}

impl Bench {
    async fn start(change: impl FnOnce(&mut ConsumerConfig)) -> Self {
        let mut config = ConsumerConfig {
            concurrency: 4,
            max_attempts: 3,
            retry_initial_ms: 5,
            retry_max_ms: 20,
            commit_interval_ms: 10,
            revoke_timeout_ms: 400,
            drain_timeout_ms: 400,
            handle_timeout_ms: 5_000,
            ..ConsumerConfig::default()
        };
        change(&mut config);
        let (events, mut inbox) = mpsc::channel(100);
        let (status_in, status) = watch::channel(Status::default());
        let (script, grave, recorder) = (Arc::new(Script::default()), Arc::new(Grave::default()), Recorder::default());
        let workshop = Workshop {
            group: "g".into(),
            handler: script.clone(),
            graveyard: grave.clone(),
            handle_timeout: Duration::from_millis(config.handle_timeout_ms),
        };
        let dispatcher = Dispatcher::new(Rules::from(&config), workshop, recorder.clone(), status_in);
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let task = tokio::spawn(async move { dispatcher.run(&mut inbox, &stop).await });
        let bench = Self { events, script, grave, recorder, status, shutdown, task };
        bench.events.send(Event::Assigned(vec![partition(0), partition(1)])).await.unwrap();
        bench
    }

    async fn send(&self, partition: i32, offset: i64, key: &str, script: &str) {
        self.send_with(partition, offset, key, script, Vec::new()).await;
    }

    async fn send_with(&self, partition: i32, offset: i64, key: &str, script: &str, headers: Vec<Header>) {
        let message = Message {
            topic: "t".to_owned(),
            partition,
            offset,
            timestamp_ms: None,
            key: (!key.is_empty()).then(|| key.as_bytes().to_vec()),
            headers,
            payload: script.as_bytes().to_vec(),
            attempt: 0,
        };
        self.events.send(Event::Message(Box::new(message))).await.unwrap();
    }

    fn ended(&self) -> Vec<i64> {
        self.script.ended.lock().unwrap().clone()
    }

    async fn revoke(&self, number: i32, lost: bool) -> Offsets {
        let (reply, answer) = sync_channel(1);
        self.events.send(Event::Revoked { partitions: vec![partition(number)], lost, reply }).await.unwrap();
        tokio::task::spawn_blocking(move || answer.recv().unwrap()).await.unwrap()
    }
}

async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 5 s: {what}");
}

#[tokio::test]
async fn a_key_waits_for_its_retry_and_others_overtake_it() {
    let bench = Bench::start(|_| {}).await;
    bench.send(0, 0, "a", "rro").await;
    bench.send(0, 1, "a", "o").await;
    bench.send(0, 2, "b", "o").await;
    bench.send(1, 0, "", "ro").await;
    bench.send(1, 1, "", "o").await;
    eventually("partition 0 is committed", || bench.recorder.committed(0) == Some(3)).await;
    eventually("partition 1 is committed", || bench.recorder.committed(1) == Some(2)).await;
    let begun = bench.script.begun.lock().unwrap().clone();
    let at = |wanted: (i64, u32)| begun.iter().position(|begun| *begun == wanted).unwrap();
    assert!(at((2, 1)) < at((0, 3)), "another key does not wait: {begun:?}");
    assert!(at((0, 3)) < begun.iter().rposition(|begun| *begun == (1, 1)).unwrap(), "the same key waits: {begun:?}");
    assert!(bench.grave.buried.lock().unwrap().is_empty());
}

#[tokio::test]
async fn rejected_and_exhausted_messages_are_buried_before_they_count_as_done() {
    let bench = Bench::start(|_| {}).await;
    *bench.grave.refusals.lock().unwrap() = 2;
    bench.send(0, 0, "a", "j").await;
    bench.send(0, 1, "a", "r").await;
    bench.send(0, 2, "c", "p").await;
    eventually("all is committed", || bench.recorder.committed(0) == Some(3)).await;
    let buried = bench.grave.buried.lock().unwrap();
    let told = |name: &str| -> Vec<String> {
        let value = |record: &Record| {
            record.headers.iter().find(|header| header.name == name).map(|header| header.value.clone())
        };
        let mut told: Vec<String> =
            buried.iter().map(|record| String::from_utf8(value(record).unwrap()).unwrap()).collect();
        told.sort();
        told
    };
    assert_eq!(told("dlq-failure-class"), ["rejected", "retries-exhausted", "retries-exhausted"]);
    assert_eq!(told("dlq-attempts"), ["1", "3", "3"]);
    assert!(told("dlq-reason").contains(&"the handler panicked".to_owned()));
    assert!(bench.recorder.calls().contains(&"pause 0".to_owned()), "a refused dead letter pauses the partition");
}

#[tokio::test]
async fn a_replay_for_another_group_is_passed_by_and_committed() {
    let bench = Bench::start(|_| {}).await;
    let replay = |group: &str| vec![Header::new(crate::dead_letter::REPLAY_GROUP, group)];
    bench.send_with(0, 0, "a", "o", replay("another")).await;
    bench.send_with(0, 1, "a", "o", replay("g")).await;
    bench.send_with(0, 2, "a", "j", replay("another")).await;
    eventually("all is committed", || bench.recorder.committed(0) == Some(3)).await;
    assert_eq!(bench.script.begun.lock().unwrap().clone(), [(1, 1)]);
    assert!(bench.grave.buried.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_dependency_that_is_down_pauses_its_partition_and_buries_nothing() {
    let bench = Bench::start(|config| config.concurrency = 2).await;
    bench.send(0, 0, "a", "ddddddddddo").await;
    eventually("the hold is told", || bench.status.borrow().held_partitions == 1).await;
    bench.send(0, 1, "b", "o").await;
    bench.send(1, 0, "c", "o").await;
    eventually("the other partition goes on", || bench.recorder.committed(1) == Some(1)).await;
    eventually("the partition recovers", || bench.recorder.committed(0) == Some(2)).await;
    assert_eq!(bench.recorder.calls(), ["pause 0", "resume 0"]);
    assert!(bench.grave.buried.lock().unwrap().is_empty());
    assert_eq!(bench.ended(), [0, 0, 1], "offset 0 of partition 1, then partition 0 in order");
}

#[tokio::test]
async fn the_window_bounds_a_partition_and_work_is_bounded_over_all() {
    let bench = Bench::start(|config| config.max_in_flight_per_partition = 20).await;
    for offset in 0..40 {
        bench.send(0, offset, &offset.to_string(), "o").await;
    }
    eventually("all is committed", || bench.recorder.committed(0) == Some(40)).await;
    assert_eq!(bench.script.together.lock().unwrap().1, 4, "exactly as many at once as configured");
    assert_eq!(bench.recorder.calls().first().unwrap(), "pause 0");
    assert_eq!(bench.recorder.calls().last().unwrap(), "resume 0");
}

#[tokio::test]
async fn a_revocation_waits_for_running_work_and_commits_only_what_is_done() {
    let bench = Bench::start(|config| config.concurrency = 1).await;
    bench.send(0, 5, "a", "s").await;
    bench.send(0, 6, "b", "o").await;
    eventually("the first is begun", || !bench.script.begun.lock().unwrap().is_empty()).await;
    assert_eq!(bench.revoke(0, false).await, [(partition(0), 6)], "the second was dropped");
    bench.send(0, 7, "c", "o").await;
    bench.events.send(Event::Assigned(vec![partition(0)])).await.unwrap();
    bench.send(0, 6, "b", "o").await;
    eventually("the next owner's view", || bench.recorder.committed(0) == Some(7)).await;
    assert_eq!(bench.ended(), [5, 6]);
}

#[tokio::test]
async fn late_results_of_a_lost_assignment_are_ignored() {
    let bench = Bench::start(|config| config.revoke_timeout_ms = 20).await;
    bench.send(0, 5, "a", "s").await;
    eventually("it is begun", || !bench.script.begun.lock().unwrap().is_empty()).await;
    assert_eq!(bench.revoke(0, true).await, []);
    bench.events.send(Event::Assigned(vec![partition(0)])).await.unwrap();
    bench.send(0, 5, "a", "ddddddddddddddddddddd").await;
    eventually("the late one ended", || !bench.ended().is_empty()).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.recorder.committed(0), None);
}

#[tokio::test]
async fn a_failed_commit_is_made_again() {
    let bench = Bench::start(|_| {}).await;
    bench.send(0, 0, "a", "o").await;
    eventually("committed", || bench.recorder.committed(0) == Some(1)).await;
    bench.recorder.0.lock().unwrap().1.clear();
    eventually("committed again", || bench.recorder.committed(0) == Some(1)).await;
}

#[tokio::test]
async fn a_shutdown_lets_running_work_finish_and_returns_its_offsets() {
    let bench = Bench::start(|config| (config.concurrency, config.commit_interval_ms) = (1, 60_000)).await;
    bench.send(0, 0, "a", "s").await;
    bench.send(0, 1, "b", "o").await;
    eventually("it is begun", || !bench.script.begun.lock().unwrap().is_empty()).await;
    bench.shutdown.cancel();
    let (ended, offsets) = bench.task.await.unwrap();
    assert_eq!((ended, offsets), (Ended::Shutdown, vec![(partition(0), 1)]));
    assert_eq!(bench.script.begun.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_handler_that_hangs_is_a_failure_and_does_not_hold_up_a_shutdown_for_ever() {
    let bench = Bench::start(|config| (config.handle_timeout_ms, config.max_attempts) = (20, 2)).await;
    bench.send(0, 0, "a", "s").await;
    eventually("it is buried", || bench.recorder.committed(0) == Some(1)).await;
    bench.events.send(Event::Fatal("fenced".to_owned())).await.unwrap();
    assert_eq!(bench.task.await.unwrap().0, Ended::Fatal("fenced".to_owned()));
}
