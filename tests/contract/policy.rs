//! Policies of links, written in the manifest: each caller is the same code under another policy. What the host refuses is told in the contract's
//! words, and never as more than is known.

use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use serde_json::{Value, json};
use swiftcart_support::eventually;
use tokio::process::Command;

use crate::fixture::{Contract, DEADLINE};
use crate::probe::Probe;

const BREAKER: &str = "caller-breaker.policy-echo.test.calls.echo";

fn with_words(conduct: &Value) -> Value {
    json!({"with_words": {"conduct": conduct}})
}

fn waiting(ms: u64) -> Value {
    with_words(&json!({"Wait": ms}))
}

fn is_done(answer: &Value) -> bool {
    *answer == json!({"Ok": 0})
}

/// Whether nothing was done, for this reason.
fn is_refused(answer: &Value, class: &str) -> bool {
    answer["Err"]["Unavailable"].as_str().is_some_and(|text| text.ends_with(&format!("({class})")))
}

/// Whether it is not known what was done, for this reason.
fn is_uncertain(answer: &Value, class: &str) -> bool {
    answer["Err"]["Uncertain"].as_str().is_some_and(|text| text.ends_with(&format!("({class})")))
}

async fn together(caller: &Probe, call: &Value, count: usize) -> anyhow::Result<Vec<Value>> {
    try_join_all((0..count).map(|_| caller.run(call))).await
}

fn count(answers: &[Value], is: impl Fn(&Value) -> bool) -> usize {
    answers.iter().filter(|answer| is(answer)).count()
}

async fn state(fixture: &Contract, id: &str) -> anyhow::Result<Value> {
    let all = fixture.client.admin("/v1/breakers").await?.expect_status(200)?.json()?;
    let found = all["breakers"].as_array().into_iter().flatten().find(|breaker| breaker["id"] == id).cloned();
    found.with_context(|| format!("{id} is not in {all}"))
}

/// Calls that reached the callee.
async fn answered(fixture: &Contract) -> anyhow::Result<f64> {
    fixture.client.metric("swiftcart_component_calls_total", &[("component", "policy-echo")]).await
}

// Goal: failures open the breaker within its window; then nobody is called and all are told `unavailable` at once; after its time exactly the
// probes go through, and if they are answered everybody is again. Method: a callee that traps, then works.
pub(crate) async fn a_breaker_opens_lets_probes_through_and_recovers(fixture: &mut Contract) -> anyhow::Result<()> {
    let caller = fixture.through("edge-breaker").await?;
    ensure!(is_done(&caller.run(&with_words(&json!("Answer"))).await?));
    for number in 1..=4 {
        let answer = caller.run(&with_words(&json!("Trap"))).await?;
        // One good call and three bad ones are enough; the fourth may find it open.
        ensure!(
            is_uncertain(&answer, "trap") || (number == 4 && is_refused(&answer, "breaker_open")),
            "{number}: {answer}"
        );
    }
    let shown = state(fixture, BREAKER).await?;
    ensure!(shown["state"] == "open" && shown["forced"].is_null(), "{shown}");
    let before = answered(fixture).await?;
    // Whoever comes now is refused, until those that come are let through as probes.
    let refused = AtomicUsize::new(0);
    let answers = eventually(DEADLINE, "probes", async || {
        let answers = together(&caller, &waiting(1_500), 10).await?;
        refused.fetch_add(count(&answers, |answer| is_refused(answer, "breaker_open")), Ordering::Relaxed);
        ensure!(answers.iter().any(is_done), "all were refused");
        Ok(answers)
    })
    .await?;
    let (done, refused) = (count(&answers, is_done), refused.into_inner());
    ensure!(done == 2 && refused >= 8, "{done} probes, {refused} refused: {answers:?}");
    ensure!(answers.iter().all(|answer| is_done(answer) || is_refused(answer, "breaker_open")), "{answers:?}");
    let reached = answered(fixture).await? - before;
    ensure!((reached - 2.0).abs() < f64::EPSILON, "{reached} calls reached the callee");
    ensure!(state(fixture, BREAKER).await?["state"] == "closed");
    ensure!(together(&caller, &with_words(&json!("Answer")), 10).await?.iter().all(is_done), "it has recovered");
    let labels = [("source", "caller-breaker"), ("target", "policy-echo")];
    let rejected = fixture.client.metric("swiftcart_link_rejections_total", &labels).await?;
    ensure!(rejected >= 8.0 && fixture.client.metric("swiftcart_link_breaker_openings_total", &labels).await? >= 1.0);
    Ok(())
}

// Goal: a call ends at the link's deadline, told as `uncertain`; calls that are answered slowly open the breaker too. Method: a callee that takes
// longer than the deadline; then ones that take longer than the policy calls slow.
pub(crate) async fn a_deadline_cuts_and_slow_calls_open_the_breaker(fixture: &mut Contract) -> anyhow::Result<()> {
    let caller = fixture.through("edge-deadline").await?;
    let began = Instant::now();
    let cut = caller.run(&waiting(4_000)).await?;
    let took = began.elapsed();
    ensure!(is_uncertain(&cut, "deadline"), "{cut}");
    ensure!(took >= Duration::from_millis(600) && took < Duration::from_millis(4_000), "it took {took:?}");
    for _ in 0..3 {
        let answer = caller.run(&waiting(300)).await?;
        // On a busy machine even these may be cut.
        ensure!(is_done(&answer) || is_uncertain(&answer, "deadline"), "{answer}");
    }
    let refused = caller.run(&with_words(&json!("Answer"))).await?;
    ensure!(is_refused(&refused, "breaker_open"), "{refused}");
    Ok(())
}

// Goal: no more calls at once than the bulkhead has places, no more waiting than its queue, the rest told `unavailable` at once. Method: eight calls
// that take a while, with two places and one that may wait.
pub(crate) async fn a_full_bulkhead_refuses_at_once(fixture: &mut Contract) -> anyhow::Result<()> {
    let caller = fixture.through("edge-bulkhead").await?;
    let answers = together(&caller, &waiting(2_000), 8).await?;
    let (done, refused) = (count(&answers, is_done), count(&answers, |answer| is_refused(answer, "bulkhead_full")));
    ensure!((done, refused) == (3, 5), "{done} done, {refused} refused: {answers:?}");
    ensure!(is_done(&caller.run(&with_words(&json!("Answer"))).await?), "the places are free again");
    let labels = [("source", "caller-bulkhead")];
    ensure!(fixture.client.metric("swiftcart_link_calls_in_flight", &labels).await?.abs() < f64::EPSILON);
    Ok(())
}

// Goal: a call that found no room is made again until it is done; one whose callee may have acted is not. Method: four calls at once of a callee that
// serves one and lets nobody wait; then one that traps; the metric of retries.
pub(crate) async fn only_what_did_nothing_is_tried_again(fixture: &mut Contract) -> anyhow::Result<()> {
    let caller = fixture.through("edge-retry").await?;
    let retries = async || {
        fixture.client.metric("swiftcart_link_retries_total", &[("source", "caller-retry"), ("result", "made")]).await
    };
    let answers = together(&caller, &waiting(100), 4).await?;
    ensure!(answers.iter().all(is_done), "{answers:?}");
    let made = retries().await?;
    ensure!(made >= 3.0, "{made} retries");
    let answer = caller.run(&with_words(&json!("Trap"))).await?;
    ensure!(is_uncertain(&answer, "trap"), "{answer}");
    ensure!((retries().await? - made).abs() < f64::EPSILON, "a call that may have acted was made again");
    Ok(())
}

async fn breaker(fixture: &Contract, arguments: &[&str]) -> anyhow::Result<Output> {
    let admin = fixture.shop.addresses().admin_url.clone().context("the host has no admin port")?;
    let mut command = Command::new(&fixture.built.host);
    command.arg("breaker").args(arguments).args(["--admin", &admin]).kill_on_drop(true);
    tokio::time::timeout(DEADLINE, command.output())
        .await
        .context("the command did not end")
        .map(|output| Ok(output?))?
}

// Goal: an operator sees where breakers stand, holds one open or closed, and lets it go; what cannot be done is told with its exit code. Method:
// the command of the host's own program, on a breaker that is well.
pub(crate) async fn an_operator_holds_a_breaker(fixture: &mut Contract) -> anyhow::Result<()> {
    let caller = fixture.through("edge-breaker").await?;
    let answer = with_words(&json!("Answer"));
    for (command, says, passes) in
        [("open", "open  held", false), ("close", "closed  held", true), ("auto", "closed  0 calls", true)]
    {
        let output = breaker(fixture, &[command, BREAKER]).await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.code() == Some(0) && text.contains(&format!("{BREAKER}  {says}")),
            "{command}: {text}{output:?}"
        );
        let told = caller.run(&answer).await?;
        ensure!(if passes { is_done(&told) } else { is_refused(&told, "breaker_open") }, "{command}: {told}");
    }
    let listed = breaker(fixture, &["list"]).await?;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    ensure!(listed.status.success() && text.lines().any(|line| line.starts_with(BREAKER)), "{text}");
    for (arguments, code) in
        [(&["open", "nobody"][..], 1), (&["open", "a/b"], 1), (&["open"], 2), (&["shut", BREAKER], 2)]
    {
        let output = breaker(fixture, arguments).await?;
        ensure!(output.status.code() == Some(code), "{arguments:?}: {output:?}");
    }
    let nowhere =
        Command::new(&fixture.built.host).args(["breaker", "list", "--admin", "http://127.0.0.1:1"]).output().await?;
    ensure!(nowhere.status.code() == Some(2), "{nowhere:?}");
    Ok(())
}
