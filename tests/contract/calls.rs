//! Calls between components: values pass unchanged, and a failure is told in the caller's contract without ever claiming too much.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::future::{join_all, try_join_all};
use serde_json::{Value, json};

use swiftcart_tests::calls;

use crate::fixture::Contract;

// Goal: every WIT type passes between components by value. Method: a record with one of each goes to the callee and back; then with the other
// cases of what has several, one by one.
pub(crate) async fn every_type_passes_by_value(fixture: &mut Contract) -> anyhow::Result<()> {
    let probe = fixture.probe().await?;
    let long = calls::with("text", json!("x".repeat(200_000)));
    for value in calls::values().into_iter().chain([long]) {
        let back = probe.run(&json!({"same": {"value": value}})).await?;
        ensure!(back == value, "sent {value}, got {back}");
    }
    Ok(())
}

// Goal: what JSON cannot say passes too, and parameters keep their order. Method: bits of infinities and of a negative zero, an option that
// holds an empty option, and a function of three parameters.
pub(crate) async fn parameters_and_bits_pass_unchanged(fixture: &mut Contract) -> anyhow::Result<()> {
    let probe = fixture.probe().await?;
    for (wide, single) in calls::bits() {
        let back = probe
            .run(&json!({"same_beyond_json": {"f64_bits": wide, "f32_bits": single, "value": calls::everything()}}))
            .await?;
        ensure!(back == json!({"f64_bits": wide, "f32_bits": single, "some_none": true}), "{back}");
    }
    let joined = probe.run(&json!({"join": {"left": "a", "right": "b", "times": 2}})).await?;
    ensure!(joined == "abab", "{joined}");
    Ok(())
}

fn conduct(function: &str, conduct: Value) -> Value {
    json!({function: {"conduct": conduct}})
}

/// The text of the case `uncertain` or `unknown`, wherever the contract has it.
fn uncertain(answer: &Value) -> Option<&str> {
    ["/Err/Uncertain", "/Err/Failed/Uncertain", "/Unknown"]
        .iter()
        .find_map(|path| answer.pointer(path))
        .and_then(Value::as_str)
}

fn unavailable(answer: &Value) -> Option<&str> {
    ["/Err/Unavailable", "/Err/Failed/Unavailable", "/Unavailable"]
        .iter()
        .find_map(|path| answer.pointer(path))
        .and_then(Value::as_str)
}

const WITH_WORDS: [&str; 3] = ["with_words", "with_nested_words", "with_variant"];

// Goal: a trap of the callee is told as "may have happened", to the one caller whose call it was. Method: eight calls that take a while, and in
// their midst one that traps, for each form that a contract may have.
pub(crate) async fn a_trap_is_uncertain_and_hurts_its_caller_alone(fixture: &mut Contract) -> anyhow::Result<()> {
    let probe = fixture.probe().await?;
    for function in WITH_WORDS {
        let (calm, wild) = (conduct(function, json!({"Wait": 200})), conduct(function, json!("Trap")));
        let (others, trapped) = futures::join!(try_join_all((0..8).map(|_| probe.run(&calm))), probe.run(&wild));
        let trapped = trapped?;
        ensure!(uncertain(&trapped).is_some_and(|text| text.contains("(trap)")), "{function}: {trapped}");
        for other in others? {
            ensure!(other == json!({"Ok": 0}) || other == json!({"Done": 0}), "{function}: {other}");
        }
    }
    Ok(())
}

// Goal: where the contract has no word for it the caller fails too, and its client gets a problem that tells nothing of the inside. Method: a
// trap behind a plain text error, and a trap of the probe itself, both beside calls that work.
pub(crate) async fn a_trap_without_words_is_a_500(fixture: &mut Contract) -> anyhow::Result<()> {
    let probe = fixture.probe().await?;
    for wild in [conduct("without_words", json!("Trap")), json!({"trap": {}})] {
        let calm = json!({"wait": {"ms": 200}});
        let (others, trapped) = futures::join!(try_join_all((0..8).map(|_| probe.run(&calm))), probe.ask(&wild));
        let trapped = trapped?.expect_status(500)?;
        let problem = trapped.json()?;
        ensure!(
            problem["type"] == "/problems/internal" && problem["traceId"].as_str().is_some_and(|id| id.len() == 32),
            "{problem}"
        );
        ensure!(
            trapped.header("content-type") == Some("application/problem+json") && !trapped.text().contains("wasm"),
            "{problem}"
        );
        ensure!(others?.iter().all(|other| *other == 200));
    }
    ensure!(probe.run(&json!({"join": {"left": "x", "right": null, "times": 1}})).await? == "x");
    Ok(())
}

// Goal: a call that finds no room surely did nothing, and says so at once instead of queueing without end. Method: eight calls at a callee with
// one instance and a queue of one; the ends are `ok` and `unavailable` only, or 503 where the contract has no word.
pub(crate) async fn an_overloaded_callee_is_unavailable(fixture: &mut Contract) -> anyhow::Result<()> {
    let narrow = fixture.narrow().await?;
    for function in WITH_WORDS {
        let call = conduct(function, json!({"Wait": 400}));
        let answers = try_join_all((0..8).map(|_| narrow.run(&call))).await?;
        let refused =
            answers.iter().filter(|answer| unavailable(answer).is_some_and(|text| text.contains("overloaded"))).count();
        let done =
            answers.iter().filter(|answer| **answer == json!({"Ok": 0}) || **answer == json!({"Done": 0})).count();
        ensure!(
            refused >= 6 && done >= 1 && refused + done == 8,
            "{function}: {refused} refused, {done} done: {answers:?}"
        );
    }
    let call = conduct("without_words", json!({"Wait": 400}));
    let answers: Vec<_> =
        join_all((0..8).map(|_| narrow.ask(&call))).await.into_iter().collect::<anyhow::Result<_>>()?;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    ensure!(refused.len() >= 6 && answers.iter().all(|answer| matches!(answer.status, 200 | 503)), "{answers:?}");
    let first = refused.first().context("none was refused")?;
    ensure!(first.json()?["type"] == "/problems/overloaded" && first.header("retry-after").is_some(), "{first:?}");
    Ok(())
}

// Goal: a guest that computes for ever is cut off in its time, its caller is told `uncertain`, and the others go on. Method: six endless loops
// on a machine with fewer processors, and short calls all the while: one that
// had to wait for the loops to end would take two seconds.
pub(crate) async fn an_endless_loop_is_cut_and_starves_nobody(fixture: &mut Contract) -> anyhow::Result<()> {
    let probe = fixture.probe().await?;
    let began = Instant::now();
    let spin = conduct("with_words", json!("Spin"));
    let spinning = tokio::spawn({
        let (probe, spin) = (probe.clone(), spin.clone());
        async move { try_join_all((0..6).map(|_| probe.run(&spin))).await }
    });
    let (mut calls, mut slowest) = (0, Duration::ZERO);
    while !spinning.is_finished() {
        let asked = Instant::now();
        let answer = probe.run(&json!({"join": {"left": "x", "right": null, "times": 1}})).await?;
        ensure!(answer == "x", "{answer}");
        (calls, slowest) = (calls + 1, slowest.max(asked.elapsed()));
    }
    let took = began.elapsed();
    for answer in spinning.await?? {
        ensure!(uncertain(&answer).is_some_and(|text| text.contains("(deadline)")), "{answer}");
    }
    ensure!(took >= Duration::from_millis(1_900) && took < Duration::from_secs(6), "the loops ended after {took:?}");
    ensure!(
        calls >= 2 && slowest < Duration::from_millis(1_500),
        "{calls} calls beside the loops, the slowest took {slowest:?}"
    );
    Ok(())
}

// Goal: a guest gets the memory of the manifest and no more; asking for more is its own failure. Method: below and above 8 MiB.
pub(crate) async fn memory_has_a_limit(fixture: &mut Contract) -> anyhow::Result<()> {
    let narrow = fixture.narrow().await?;
    let within = narrow.run(&conduct("with_words", json!({"Allocate": 4 << 20}))).await?;
    ensure!(within == json!({"Ok": 4 << 20}), "{within}");
    let beyond = narrow.run(&conduct("with_words", json!({"Allocate": 64 << 20}))).await?;
    ensure!(uncertain(&beyond).is_some_and(|text| text.contains("(trap)")), "{beyond}");
    ensure!(narrow.run(&conduct("with_words", json!("Answer"))).await? == json!({"Ok": 0}));
    Ok(())
}

// Goal: warm instances serve again, up to `max_uses` times; fresh ones serve once. Method: the callee counts its own calls.
pub(crate) async fn warm_instances_are_reused_and_fresh_ones_are_not(fixture: &mut Contract) -> anyhow::Result<()> {
    let (probe, narrow) = (fixture.probe().await?, fixture.narrow().await?);
    let mut warm = Vec::new();
    for _ in 0..40 {
        warm.push(probe.run(&json!({"echo_uses": {}})).await?.as_u64().context("no number")?);
        let fresh = narrow.run(&json!({"echo_uses": {}})).await?;
        ensure!(fresh == 1, "a fresh instance counts {fresh}");
    }
    let again = warm.windows(2).filter(|pair| matches!(pair, [before, after] if *after == before + 1)).count();
    ensure!(again >= 20, "one instance was rarely met twice: {warm:?}");
    ensure!(warm.iter().all(|uses| (1..=10).contains(uses)), "an instance served more than 10 times: {warm:?}");
    Ok(())
}

// Goal: a guest has no environment, no arguments, no folders; sockets it cannot even import. Method: it looks.
pub(crate) async fn a_guest_has_no_surroundings(fixture: &mut Contract) -> anyhow::Result<()> {
    let seen = fixture.probe().await?.run(&json!({"surroundings": {}})).await?;
    ensure!(seen == json!({"environment": 0, "arguments": 0, "folders": 0}), "{seen}");
    Ok(())
}
