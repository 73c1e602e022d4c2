//! `swiftcart-host dlq`, the real program on the real broker: what died is found, shown, published again once, set aside or given up, and all of
//! it is written down; the metrics tell what waits.

use anyhow::{Context as _, ensure};
use rdkafka::message::{Message as _, OwnedMessage};
use serde_json::{Value, json};
use swiftcart_support::eventually;
use swiftcart_tests::broker::header;
use swiftcart_tests::operator::{NAME, Operator};

use crate::consume::{BLOCKED, BLOCKED_DEAD, GIVEN, GIVEN_DEAD, GROUP, all_committed, attempts, give, seen};
use crate::fixture::{Contract, DEADLINE, unique};

const MARKS: &str = "swiftcart.dlq.marks.v1";
const AUDIT: &str = "swiftcart.audit.v1";

fn operator(fixture: &Contract) -> Operator {
    Operator::new(&fixture.built.host, &fixture.shop.addresses().kafka_bootstrap_servers)
}

/// The dead letters with this key, when there are so many.
async fn buried(fixture: &Contract, topic: &str, key: &str, count: usize) -> anyhow::Result<Vec<OwnedMessage>> {
    eventually(DEADLINE, "the dead letters", || async {
        let letters = fixture.broker.with_key(topic, key).await?;
        ensure!(letters.len() == count, "{} of {count} dead letters", letters.len());
        Ok(letters)
    })
    .await
}

/// What `dlq list` counts for one key: open, parked, replayed, discarded.
async fn counts(fixture: &Contract, topic: &str, key: &str) -> anyhow::Result<[i64; 4]> {
    let listed = operator(fixture).json(&["list", "--topic", topic, "--key", key]).await?;
    let topic = &listed["topics"][0];
    Ok(["open", "parked", "replayed", "discarded"].map(|state| topic[state].as_i64().unwrap_or(-1)))
}

async fn depth(fixture: &Contract, topic: &str, state: &str) -> anyhow::Result<f64> {
    fixture.client.metric("swiftcart_kafka_dead_letters", &[("topic", topic), ("group", GROUP), ("state", state)]).await
}

/// Waits until the metric tells as many open letters as the program does.
async fn depth_is_true(fixture: &Contract, topic: &str) -> anyhow::Result<f64> {
    eventually(DEADLINE, "the depth to be told", || async {
        let listed = operator(fixture).json(&["list", "--topic", topic, "--group", GROUP]).await?;
        let (told, true_one) = (depth(fixture, topic, "open").await?, listed["topics"][0]["open"].as_f64());
        ensure!(Some(told) == true_one, "the metric tells {told}, the topic has {true_one:?}");
        Ok(told)
    })
    .await
}

async fn open_gate(fixture: &Contract, gate: &str) -> anyhow::Result<()> {
    sqlx::query("INSERT INTO gates (name) VALUES ($1)").bind(gate).execute(&fixture.consumer_database).await?;
    Ok(())
}

fn now_ms() -> anyhow::Result<u64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(u64::try_from(since.as_millis())?)
}

/// The audit's lines of one run.
async fn audited(fixture: &Contract, run: &Value) -> anyhow::Result<Vec<Value>> {
    let lines = fixture.broker.read_all(AUDIT).await?;
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_slice(line.payload().unwrap_or_default()))
        .collect::<Result<_, _>>()?;
    Ok(lines.into_iter().filter(|line| line["run"] == *run).collect())
}

// Goal: a batch that died of bad code is found, shown and published again once better code is there, in any order and never twice, and it is
// known who did it. Method: three messages of one key; the second alone first, then all; a second run; the origin topic, the guest's story and the
// audit are compared.
pub(crate) async fn letters_are_listed_shown_and_replayed_once(fixture: &mut Contract) -> anyhow::Result<()> {
    let (key, gate) = (unique("replay"), unique("gate-name"));
    for number in 1..=3 {
        let conduct = json!({"conduct": "reject-unless", "gate": gate});
        give(fixture, GIVEN, &key, &format!("{key}/{number}"), conduct).await?;
    }
    let letters = buried(fixture, GIVEN_DEAD, &key, 3).await?;
    let places: Vec<String> =
        letters.iter().map(|letter| format!("{}:{}", letter.partition(), letter.offset())).collect();
    let before = depth_is_true(fixture, GIVEN_DEAD).await?;
    ensure!(before >= 3.0, "the metric tells {before}");

    let operator = operator(fixture);
    let listed = operator.json(&["list", "--topic", GIVEN_DEAD, "--key", &key, "--each"]).await?;
    let listed = &listed["topics"][0];
    ensure!(listed["open"] == 3 && listed["letters"].as_array().is_some_and(|all| all.len() == 3), "{listed}");
    let cause = &listed["causes"][0];
    ensure!(
        cause["reason"] == format!("not before {gate}") && cause["letters"] == 3 && cause["group"] == GROUP,
        "{cause}"
    );
    for nobody in [["--group", "others"], ["--reason-contains", "no such reason"], ["--until", "1h"]] {
        let none = operator.json(&[&["list", "--topic", GIVEN_DEAD, "--key", &key][..], &nobody[..]].concat()).await?;
        ensure!(none["topics"][0]["open"] == 0, "{nobody:?}: {none}");
    }
    let show = ["show", "--topic", GIVEN_DEAD, "--offset", &places[1]];
    let shown = operator.json(&show).await?;
    ensure!(shown["origin"]["topic"] == GIVEN && shown["state"] == "open" && shown.get("payload").is_none(), "{shown}");
    ensure!(shown["component_digest"] == fixture.digest("consumer").await?, "{shown}");
    let whole = operator.json(&[&show[..], &["--payload"]].concat()).await?;
    ensure!(whole["payload"].as_str().is_some_and(|payload| payload.contains(&format!("{key}/2"))), "{whole}");

    // Neither without a yes nor in a dry run anything is done.
    let choice = ["replay", "--topic", GIVEN_DEAD, "--key", &key];
    let unasked = operator.run(&choice).await?;
    ensure!(unasked.code == 2 && unasked.err.contains("--yes"), "{unasked:?}");
    let dry = operator.json(&[&choice[..], &["--dry-run"]].concat()).await?;
    ensure!(dry["selected"] == 3, "{dry}");
    ensure!(fixture.broker.with_key(GIVEN, &key).await?.len() == 3, "something was published");

    open_gate(fixture, &gate).await?;
    let second =
        operator.json(&[&choice[..], &["--offset", &places[1], "--yes", "--note", "one first"]].concat()).await?;
    ensure!(second["replayed"] == 1, "{second}");
    attempts(fixture, &key, 4).await?;
    let rest = operator.json(&[&choice[..], &["--yes", "--rate", "50"]].concat()).await?;
    ensure!(rest["replayed"] == 2 && rest["left"] == 0 && rest["failure"] == Value::Null, "{rest}");
    let story: Vec<String> = attempts(fixture, &key, 6).await?.into_iter().skip(3).map(|seen| seen.name).collect();
    ensure!(story == [2, 1, 3].map(|number| format!("{key}/{number}")), "{story:?}");
    all_committed(fixture, GIVEN).await?;

    let again = operator.json(&[&choice[..], &["--yes"]].concat()).await?;
    ensure!(again["selected"] == 0, "{again}");
    let published = fixture.broker.with_key(GIVEN, &key).await?;
    ensure!(published.len() == 6, "{} records in the topic", published.len());
    for (replay, count) in published.iter().zip(0_usize..) {
        ensure!(replay.partition() == published[0].partition(), "another partition");
        let told = |name: &str| header(replay, name);
        let expected = (count >= 3).then(|| ("1".to_owned(), GROUP.to_owned()));
        ensure!(told("dlq-replay-count").zip(told("dlq-replay-group")) == expected, "headers of record {count}");
        ensure!(told("lesson").as_deref() == Some("one") && told("traceparent").is_some(), "its own headers are gone");
    }
    ensure!(counts(fixture, GIVEN_DEAD, &key).await? == [0, 0, 3, 0]);
    ensure!(depth_is_true(fixture, GIVEN_DEAD).await? == before - 3.0, "the metric did not fall by what was replayed");
    let lines = audited(fixture, &second["run"]).await?;
    let [begun, ended] = &lines[..] else { anyhow::bail!("{} lines of the audit", lines.len()) };
    ensure!(begun["phase"] == "begun" && begun["operator"] == NAME && begun["action"] == "dlq.replay", "{begun}");
    ensure!(begun["note"] == "one first" && begun["filter"]["key"] == key && begun["at_ms"].is_u64(), "{begun}");
    ensure!(ended["phase"] == "ended" && ended["replayed"] == 1 && ended["selected"] == 1, "{ended}");
    Ok(())
}

// Goal: what dies again and again is not replayed for ever. Method: a message that is always rejected goes round twice, as the guard allows, is
// parked by the third run, left alone by a fourth, and given up by hand.
pub(crate) async fn a_loop_ends_parked_and_is_discarded(fixture: &mut Contract) -> anyhow::Result<()> {
    let key = unique("loop");
    give(fixture, GIVEN, &key, &key, json!({"conduct": "reject"})).await?;
    let choice = ["replay", "--topic", GIVEN_DEAD, "--key", &key, "--max-replays", "2", "--yes"];
    let operator = operator(fixture);
    for deaths in 1..=2 {
        buried(fixture, GIVEN_DEAD, &key, deaths).await?;
        let report = operator.json(&choice).await?;
        ensure!(report["replayed"] == 1 && report["parked"] == 0, "{report}");
    }
    let letters = buried(fixture, GIVEN_DEAD, &key, 3).await?;
    for (letter, replays) in letters.iter().zip(0..) {
        ensure!(header(letter, "dlq-replay-count") == Some(replays.to_string()), "letter {replays}");
        for name in ["dlq-original-offset", "dlq-original-timestamp", "dlq-first-failure-at"] {
            ensure!(header(letter, name) == header(&letters[0], name), "{name} is not that of the beginning");
        }
    }
    let report = operator.json(&choice).await?;
    ensure!(report["replayed"] == 0 && report["parked"] == 1, "{report}");
    let again = operator.json(&choice).await?;
    ensure!(again["selected"] == 0, "a parked letter was taken: {again}");
    ensure!(fixture.broker.with_key(GIVEN, &key).await?.len() == 3, "it was published a fourth time");
    ensure!(counts(fixture, GIVEN_DEAD, &key).await? == [0, 1, 2, 0]);
    eventually(DEADLINE, "the parked letter to be told", || async {
        ensure!(depth(fixture, GIVEN_DEAD, "parked").await? == 1.0);
        Ok(())
    })
    .await?;
    let discarded = operator.json(&["discard", "--topic", GIVEN_DEAD, "--key", &key, "--yes"]).await?;
    ensure!(discarded["discarded"] == 1, "{discarded}");
    ensure!(counts(fixture, GIVEN_DEAD, &key).await? == [0, 0, 2, 1]);
    eventually(DEADLINE, "nothing to be parked", || async {
        ensure!(depth(fixture, GIVEN_DEAD, "parked").await? == 0.0);
        Ok(())
    })
    .await?;
    let lines = audited(fixture, &discarded["run"]).await?;
    ensure!(lines.len() == 2 && lines.iter().all(|line| line["action"] == "dlq.discard"), "{lines:?}");
    Ok(())
}

// Goal: the groups that handled a message do not get it again. Method: a replay for another group, and one behind it for ours; and what is no dead
// letter of a consumer is never published.
pub(crate) async fn only_the_group_that_failed_takes_a_replay(fixture: &mut Contract) -> anyhow::Result<()> {
    let key = unique("group");
    for (name, group) in [("other", "another-group"), ("ours", GROUP)] {
        let payload = json!({"name": format!("{key}/{name}"), "conduct": "ok"}).to_string();
        let headers = [("dlq-replay-group".to_owned(), group.as_bytes().to_vec())];
        fixture.broker.publish(GIVEN, &key, payload.as_bytes(), &headers).await?;
    }
    attempts(fixture, &format!("{key}/ours"), 1).await?;
    all_committed(fixture, GIVEN).await?;
    ensure!(seen(fixture, &format!("{key}/other")).await?.is_empty(), "a replay for another group was handled");
    let stray = [("dlq-original-topic".to_owned(), b"lessons.published.v1".to_vec())];
    fixture.broker.publish(GIVEN_DEAD, &key, b"stray", &stray).await?;
    let report = operator(fixture).run(&["replay", "--topic", GIVEN_DEAD, "--key", &key, "--yes", "--json"]).await?;
    let told: Value = serde_json::from_str(&report.out).with_context(|| format!("{report:?}"))?;
    ensure!(
        report.code == 1 && told["replayed"] == 0 && told["refused"].as_array().is_some_and(|all| all.len() == 1),
        "{told}"
    );
    ensure!(fixture.broker.with_key("lessons.published.v1", &key).await?.is_empty(), "a forged letter was published");
    operator(fixture).json(&["discard", "--topic", GIVEN_DEAD, "--key", &key, "--yes"]).await?;
    Ok(())
}

// Goal: two operators do not replay the same letters at once, and one who died does not stand in the way for ever. Method: a claim of another run
// that lasts, then the same given back.
pub(crate) async fn one_run_at_a_time_works_on_a_topic(fixture: &mut Contract) -> anyhow::Result<()> {
    let (key, gate) = (unique("claim"), unique("gate-name"));
    give(fixture, GIVEN, &key, &key, json!({"conduct": "reject-unless", "gate": gate})).await?;
    buried(fixture, GIVEN_DEAD, &key, 1).await?;
    open_gate(fixture, &gate).await?;
    let now = now_ms()?;
    let claim = async |until_ms: u64| {
        let claim = json!({"run": "another", "operator": "somebody", "at_ms": now, "until_ms": until_ms}).to_string();
        fixture.broker.publish(MARKS, &format!("{GIVEN_DEAD}/claim"), claim.as_bytes(), &[]).await
    };
    let choice = ["replay", "--topic", GIVEN_DEAD, "--key", &key, "--yes"];
    claim(now + 3_600_000).await?;
    let refused = operator(fixture).run(&choice).await?;
    ensure!(refused.code == 2 && refused.err.contains("somebody"), "{refused:?}");
    ensure!(seen(fixture, &key).await?.len() == 1, "it was replayed all the same");
    claim(now).await?;
    let report = operator(fixture).json(&choice).await?;
    ensure!(report["replayed"] == 1, "{report}");
    attempts(fixture, &key, 2).await?;
    Ok(())
}

// Goal: a run that dies in the middle is taken up by the next one; nothing is missing, nothing overtakes, and at most the letter in flight is published
// twice. Method: kill -9 after the first of ten letters of one key at one a second; its claim is given back in its place, as two minutes would.
pub(crate) async fn a_killed_run_is_taken_up_where_it_ended(fixture: &mut Contract) -> anyhow::Result<()> {
    const LETTERS: usize = 10;
    let (key, gate) = (unique("killed"), unique("gate-name"));
    for number in 0..LETTERS {
        let conduct = json!({"conduct": "reject-unless", "gate": gate});
        give(fixture, GIVEN, &key, &format!("{key}/{number:02}"), conduct).await?;
    }
    buried(fixture, GIVEN_DEAD, &key, LETTERS).await?;
    open_gate(fixture, &gate).await?;
    let choice = ["replay", "--topic", GIVEN_DEAD, "--key", &key, "--yes"];
    let mut run = operator(fixture).start(&[&choice[..], &["--rate", "1"]].concat())?;
    attempts(fixture, &key, LETTERS + 1).await?;
    run.kill().await?;
    let [open, _, replayed, _] = counts(fixture, GIVEN_DEAD, &key).await?;
    ensure!(
        open >= 1 && usize::try_from(open + replayed)? == LETTERS,
        "{open} open and {replayed} replayed: nothing is shown"
    );
    let busy = operator(fixture).run(&choice).await?;
    ensure!(busy.code == 2 && busy.err.contains(NAME), "the dead run's claim should last: {busy:?}");

    let claim_key = format!("{GIVEN_DEAD}/claim");
    let claims = fixture.broker.with_key(MARKS, &claim_key).await?;
    let mut claim: Value =
        serde_json::from_slice(claims.last().and_then(|claim| claim.payload()).context("no claim")?)?;
    let now = now_ms()?;
    (claim["at_ms"], claim["until_ms"]) = (json!(now), json!(now));
    fixture.broker.publish(MARKS, &claim_key, claim.to_string().as_bytes(), &[]).await?;
    let report = operator(fixture).json(&choice).await?;
    ensure!(report["replayed"] == open && report["skipped"] == 0, "{open} were open: {report}");
    attempts(fixture, &format!("{key}/{:02}", LETTERS - 1), 2).await?;
    all_committed(fixture, GIVEN).await?;
    let mut story: Vec<String> = seen(fixture, &key).await?.into_iter().skip(LETTERS).map(|seen| seen.name).collect();
    ensure!(story.len() <= LETTERS + 1, "more than one letter was published twice: {story:?}");
    story.dedup();
    ensure!(story == (0..LETTERS).map(|number| format!("{key}/{number:02}")).collect::<Vec<_>>(), "{story:?}");
    ensure!(counts(fixture, GIVEN_DEAD, &key).await? == [0, 0, i64::try_from(LETTERS)?, 0]);
    Ok(())
}

// Goal: an outage in the middle of a stream makes a lag that everybody can see, no dead letter, and is worked off in order. Method: a shut gate for
// one key, 30 more messages of three keys on every partition behind it; the metric of the lag must have told them before the gate opens.
pub(crate) async fn lag_rises_and_falls_with_an_outage(fixture: &mut Contract) -> anyhow::Result<()> {
    let (stem, gate) = (unique("outage"), unique("gate-name"));
    let letters = fixture.broker.read_all(BLOCKED_DEAD).await?.len();
    let key = |number: usize| format!("{stem}-{}", number % 3);
    for number in 0..30 {
        let name = format!("{stem}/{number:02}");
        give(fixture, BLOCKED, &key(number), &name, json!({"conduct": "gate", "gate": gate})).await?;
    }
    let labels = [("topic", BLOCKED), ("group", GROUP)];
    let told = eventually(DEADLINE, "the lag to be told", || async {
        let lag = fixture.client.metric("swiftcart_kafka_lag_messages", &labels).await?;
        let age = fixture.client.metric("swiftcart_kafka_oldest_message_seconds", &labels).await?;
        ensure!(lag >= 30.0 && age > 1.0, "lag {lag}, oldest {age} s");
        Ok(lag)
    })
    .await?;
    open_gate(fixture, &gate).await?;
    all_committed(fixture, BLOCKED).await?;
    eventually(DEADLINE, "the lag to be gone", || async {
        let lag = fixture.client.metric("swiftcart_kafka_lag_messages", &labels).await?;
        let age = fixture.client.metric("swiftcart_kafka_oldest_message_seconds", &labels).await?;
        ensure!(lag == 0.0 && age == 0.0, "lag {lag} of {told}, oldest {age} s");
        Ok(())
    })
    .await?;
    ensure!(fixture.broker.read_all(BLOCKED_DEAD).await?.len() == letters, "the outage made dead letters");
    for lane in 0..3 {
        let mut names: Vec<String> = Vec::new();
        for seen in seen(fixture, &stem).await?.into_iter().filter(|seen| seen.key == Some(key(lane))) {
            if names.last() != Some(&seen.name) {
                names.push(seen.name);
            }
        }
        let expected: Vec<String> = (lane..30).step_by(3).map(|number| format!("{stem}/{number:02}")).collect();
        ensure!(names == expected, "key {lane} was worked off as {names:?}");
    }
    Ok(())
}
