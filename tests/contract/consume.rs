//! `swiftcart:kafka/handler`: order per key, retries, dead letters, pauses, and nothing lost. The guest writes down every attempt.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use rdkafka::message::Message as _;
use rdkafka::message::OwnedMessage;
use serde_json::{Value, json};
use sqlx::Row as _;
use swiftcart_support::eventually;
use swiftcart_tests::broker::header;

use crate::fixture::{Contract, DEADLINE, unique};

pub(crate) const GIVEN: &str = "lessons.given.v1";
pub(crate) const GIVEN_DEAD: &str = "lessons.given.dlq";
pub(crate) const BLOCKED: &str = "lessons.blocked.v1";
pub(crate) const BLOCKED_DEAD: &str = "lessons.blocked.dlq";
pub(crate) const GROUP: &str = "contract-consumer";
/// `max_attempts` in the manifest.
const MAX_ATTEMPTS: i64 = 4;

/// One attempt, as the guest saw it.
pub(crate) struct Seen {
    pub(crate) id: i64,
    pub(crate) key: Option<String>,
    pub(crate) name: String,
    pub(crate) attempt: i64,
    pub(crate) partition: i32,
    pub(crate) header_traceparent: Option<String>,
    pub(crate) call_traceparent: String,
}

/// All attempts at messages whose name begins with this, in the order in which they were made.
pub(crate) async fn seen(fixture: &Contract, stem: &str) -> anyhow::Result<Vec<Seen>> {
    let sql = "SELECT id, key, name, attempt, partition, header_traceparent, call_traceparent FROM seen WHERE starts_with(name, $1) ORDER BY id";
    let rows = sqlx::query(sql).bind(stem).fetch_all(&fixture.consumer_database).await?;
    rows.iter()
        .map(|row| {
            Ok(Seen {
                id: row.try_get("id")?,
                key: row.try_get("key")?,
                name: row.try_get("name")?,
                attempt: row.try_get("attempt")?,
                partition: row.try_get("partition")?,
                header_traceparent: row.try_get("header_traceparent")?,
                call_traceparent: row.try_get("call_traceparent")?,
            })
        })
        .collect()
}

pub(crate) async fn give(
    fixture: &Contract,
    topic: &str,
    key: &str,
    name: &str,
    mut instruction: Value,
) -> anyhow::Result<()> {
    instruction["name"] = json!(name);
    let headers = [
        ("traceparent".to_owned(), b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_vec()),
        ("lesson".to_owned(), b"one".to_vec()),
    ];
    // The consumer makes its topics when it starts, which may be now.
    eventually(DEADLINE, "the topic to take a message", || async {
        fixture.broker.publish(topic, key, instruction.to_string().as_bytes(), &headers).await
    })
    .await
}

pub(crate) async fn attempts(fixture: &Contract, stem: &str, least: usize) -> anyhow::Result<Vec<Seen>> {
    eventually(DEADLINE, "the messages to be seen", || async {
        let all = seen(fixture, stem).await?;
        ensure!(all.len() >= least, "{} of {least} attempts at {stem}", all.len());
        Ok(all)
    })
    .await
}

pub(crate) async fn all_committed(fixture: &Contract, topic: &str) -> anyhow::Result<()> {
    eventually(DEADLINE, "all offsets to be committed", || async {
        let (done, end) = fixture.broker.progress(GROUP, topic).await?;
        ensure!(done == end, "{done} of {end} in {topic}");
        Ok(())
    })
    .await
}

async fn dead(fixture: &Contract, topic: &str, key: &str) -> anyhow::Result<OwnedMessage> {
    eventually(DEADLINE, "the dead letter", || async {
        let mut letters = fixture.broker.with_key(topic, key).await?;
        ensure!(letters.len() == 1, "{} dead letters", letters.len());
        letters.pop().context("none")
    })
    .await
}

// Goal: a message that fails holds back the later ones of its key and nothing is repeated or swapped. Method: one key, the first message fails
// twice; the attempts as the guest saw them are the whole story.
pub(crate) async fn order_is_kept_per_key_through_retries(fixture: &mut Contract) -> anyhow::Result<()> {
    let key = unique("order");
    give(fixture, GIVEN, &key, &format!("{key}/1"), json!({"conduct": "retry", "times": 2})).await?;
    for number in 2..=5 {
        give(fixture, GIVEN, &key, &format!("{key}/{number}"), json!({"conduct": "ok"})).await?;
    }
    attempts(fixture, &key, 7).await?;
    all_committed(fixture, GIVEN).await?;
    let story: Vec<(String, i64)> =
        seen(fixture, &key).await?.into_iter().map(|seen| (seen.name, seen.attempt)).collect();
    let expected: Vec<(String, i64)> = [(1, 1), (1, 2), (1, 3), (2, 1), (3, 1), (4, 1), (5, 1)]
        .iter()
        .map(|(number, attempt)| (format!("{key}/{number}"), *attempt))
        .collect();
    ensure!(story == expected, "{story:?}");
    Ok(())
}

// Goal: a slow message holds up its own key only, not its partition. Method: one message takes two seconds; of twelve other keys at least one
// shares its partition, and all are done before it is.
pub(crate) async fn a_slow_key_holds_up_no_other(fixture: &mut Contract) -> anyhow::Result<()> {
    let stem = unique("slow");
    give(fixture, GIVEN, &stem, &format!("{stem}/slow"), json!({"conduct": "wait", "ms": 2000})).await?;
    attempts(fixture, &format!("{stem}/slow"), 1).await?;
    for number in 0..12 {
        give(fixture, GIVEN, &format!("{stem}-{number}"), &format!("{stem}/quick/{number}"), json!({"conduct": "ok"}))
            .await?;
    }
    let all = attempts(fixture, &stem, 14).await?;
    let slow = all.iter().find(|seen| seen.name.ends_with("slow is done")).context("the slow one did not end")?;
    let quick: Vec<_> = all.iter().filter(|seen| seen.name.contains("/quick/")).collect();
    ensure!(quick.iter().any(|seen| seen.partition == slow.partition), "no other key shares the partition");
    ensure!(
        quick.len() == 12 && quick.iter().all(|seen| seen.id < slow.id && seen.key != slow.key),
        "a quick one waited for the slow one"
    );
    Ok(())
}

// Goal: a rejected message goes to the dead letters at once, unchanged, with all that is needed to judge and replay it. Method: reject one and
// read the topic; the digest is the one that runs.
pub(crate) async fn a_rejected_message_is_a_dead_letter_with_its_story(fixture: &mut Contract) -> anyhow::Result<()> {
    let key = unique("reject");
    give(fixture, GIVEN, &key, &key, json!({"conduct": "reject"})).await?;
    let letter = dead(fixture, GIVEN_DEAD, &key).await?;
    ensure!(seen(fixture, &key).await?.len() == 1, "a rejected message was tried again");
    let payload: Value = serde_json::from_slice(letter.payload().context("no payload")?)?;
    ensure!(payload == json!({"name": key, "conduct": "reject"}), "{payload}");
    let digest = fixture.digest("consumer").await?;
    for (name, value) in [
        ("dlq-original-topic", GIVEN),
        ("dlq-group", GROUP),
        ("dlq-reason", "asked to reject"),
        ("dlq-failure-class", "rejected"),
        ("dlq-attempts", "1"),
        ("dlq-component-digest", &digest),
        ("dlq-replay-count", "0"),
        ("lesson", "one"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ] {
        ensure!(
            header(&letter, name).as_deref() == Some(value),
            "{name} is {:?}, expected {value}",
            header(&letter, name)
        );
    }
    for name in [
        "dlq-original-partition",
        "dlq-original-offset",
        "dlq-original-timestamp",
        "dlq-first-failure-at",
        "dlq-last-failure-at",
    ] {
        ensure!(
            header(&letter, name).is_some_and(|value| value.parse::<i64>().is_ok()),
            "{name} is {:?}",
            header(&letter, name)
        );
    }
    all_committed(fixture, GIVEN).await
}

// Goal: a handler that traps is tried again, as often as the manifest says, then the message is buried and the key goes on. Method: a message
// that always traps, and one behind it.
pub(crate) async fn a_trap_is_retried_and_then_buried(fixture: &mut Contract) -> anyhow::Result<()> {
    let key = unique("trap");
    give(fixture, GIVEN, &key, &format!("{key}/1"), json!({"conduct": "trap"})).await?;
    give(fixture, GIVEN, &key, &format!("{key}/2"), json!({"conduct": "ok"})).await?;
    let letter = dead(fixture, GIVEN_DEAD, &key).await?;
    ensure!(
        header(&letter, "dlq-failure-class").as_deref() == Some("retries-exhausted"),
        "{:?}",
        header(&letter, "dlq-failure-class")
    );
    ensure!(header(&letter, "dlq-attempts") == Some(MAX_ATTEMPTS.to_string()), "{:?}", header(&letter, "dlq-attempts"));
    let story = attempts(fixture, &key, 5).await?;
    let attempts: Vec<i64> = story.iter().map(|seen| seen.attempt).collect();
    ensure!(attempts == [1, 2, 3, 4, 1] && story.last().is_some_and(|seen| seen.name.ends_with("/2")), "{attempts:?}");
    Ok(())
}

// Goal: when something that every message needs is down, messages wait for it, longer than any count of attempts, and none is buried. Method: a
// gate that is shut; more attempts than the manifest allows for failures; no dead letter, no commit; then the gate opens.
pub(crate) async fn a_missing_dependency_pauses_and_buries_nothing(fixture: &mut Contract) -> anyhow::Result<()> {
    let (key, gate) = (unique("gate"), unique("gate-name"));
    give(fixture, BLOCKED, &key, &format!("{key}/1"), json!({"conduct": "gate", "gate": gate})).await?;
    give(fixture, BLOCKED, &key, &format!("{key}/2"), json!({"conduct": "ok"})).await?;
    let tried = attempts(fixture, &format!("{key}/1"), usize::try_from(MAX_ATTEMPTS)? + 2).await?;
    ensure!(tried.iter().all(|seen| seen.name.ends_with("/1")));
    ensure!(seen(fixture, &format!("{key}/2")).await?.is_empty(), "a later message of the key went first");
    ensure!(fixture.broker.with_key(BLOCKED_DEAD, &key).await?.is_empty(), "it was buried");
    let (done, end) = fixture.broker.progress(GROUP, BLOCKED).await?;
    ensure!(done < end, "it was committed without having been handled");
    sqlx::query("INSERT INTO gates (name) VALUES ($1)").bind(&gate).execute(&fixture.consumer_database).await?;
    attempts(fixture, &format!("{key}/2"), 1).await?;
    all_committed(fixture, BLOCKED).await?;
    ensure!(fixture.broker.with_key(BLOCKED_DEAD, &key).await?.is_empty(), "it was buried after all");
    Ok(())
}

// Goal: a host that is killed in the middle loses nothing: what was not committed comes again. Method: forty slow messages, kill when some are
// done, publish more while it is away, start again; every one is seen, per key in order.
pub(crate) async fn a_killed_host_resumes_without_loss(fixture: &mut Contract) -> anyhow::Result<()> {
    let stem = unique("resume");
    for number in 0..40 {
        give(
            fixture,
            GIVEN,
            &format!("{stem}-{}", number % 8),
            &format!("{stem}/{number:02}"),
            json!({"conduct": "wait", "ms": 100}),
        )
        .await?;
    }
    attempts(fixture, &stem, 6).await?;
    fixture.shop.host()?.kill()?;
    for number in 40..48 {
        give(
            fixture,
            GIVEN,
            &format!("{stem}-{}", number % 8),
            &format!("{stem}/{number:02}"),
            json!({"conduct": "ok"}),
        )
        .await?;
    }
    let before = seen(fixture, &stem).await?.len();
    ensure!(before < 80, "all was done before the kill; nothing is shown");
    fixture.shop.host()?.start().await?;
    eventually(Duration::from_secs(40), "all messages to be handled", || async {
        let (done, end) = fixture.broker.progress(GROUP, GIVEN).await?;
        ensure!(done == end, "{done} of {end}");
        Ok(())
    })
    .await?;
    let all = seen(fixture, &stem).await?;
    for number in 0..48 {
        let finished = if number < 40 { format!("{stem}/{number:02} is done") } else { format!("{stem}/{number:02}") };
        ensure!(all.iter().any(|seen| seen.name == finished), "{finished} was lost");
    }
    for key in 0..8 {
        // The last handling of each message is in the order of the key.
        let last: Vec<i64> = (0..48)
            .filter(|number| number % 8 == key)
            .filter_map(|number| {
                all.iter().rev().find(|seen| seen.name.starts_with(&format!("{stem}/{number:02}"))).map(|seen| seen.id)
            })
            .collect();
        ensure!(last.is_sorted(), "key {key} was handled out of order: {last:?}");
    }
    Ok(())
}
