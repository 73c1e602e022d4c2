//! `wasi:http/outgoing-handler`: the allow-list, the deadline, the trace.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::fixture::{Contract, unique};
use crate::target::header;

fn fetch(authority: &str, path: &str) -> Value {
    json!({"fetch": {"https": false, "authority": authority, "path": path}})
}

// Goal: a component reaches what its link names and nothing else, by no way of writing it. Method: the target by its name in the link; then the
// admin port, the database and a name, all of which are there.
pub(crate) async fn only_allowed_hosts_are_reached(fixture: &mut Contract) -> anyhow::Result<()> {
    let probe = fixture.probe().await?;
    let answer = probe.run(&fetch(&fixture.target.authority(), "/ok?a=b")).await?;
    ensure!(answer.pointer("/Ok/status") == Some(&json!(200)), "{answer}");
    let port = fixture.target.authority().split(':').next_back().context("no port")?.to_owned();
    let admin = fixture.shop.addresses().admin_url.clone().context("no admin port")?.replace("http://", "");
    for authority in [
        admin,
        format!("localhost:{port}"),
        format!("127.0.0.2:{port}"),
        "127.0.0.1".to_owned(),
        format!("user@127.0.0.1:{port}"),
        format!("127.0.0.1:{port}@example.org"),
    ] {
        let answer = probe.run(&fetch(&authority, "/forbidden")).await?;
        ensure!(answer.get("Err").is_some(), "{authority} -> {answer}");
    }
    ensure!(fixture.target.heads("/forbidden").is_empty(), "the target was reached by another name");
    Ok(())
}

// Goal: the callee outside sees the request's trace with a span of its own, whatever the guest says. Method: the guest sends a trace of its own
// making; read what arrived.
pub(crate) async fn the_trace_goes_along_and_nothing_is_forged(fixture: &mut Contract) -> anyhow::Result<()> {
    let (probe, path) = (fixture.probe().await?, format!("/{}", unique("trace")));
    let trace = "5bf92f3577b34da6a3ce929d0e0e4736";
    let mut operation = fetch(&fixture.target.authority(), &path);
    operation["fetch"]["headers"] =
        json!([["traceparent", "00-11111111111111111111111111111111-2222222222222222-01"], ["x-own", "yes"]]);
    let request = probe
        .request(&operation)
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .header("tracestate", "vendor=1");
    swiftcart_support::client::send(request).await?.expect_status(200)?;
    let heads = fixture.target.heads(&path);
    let head = heads.first().context("the target was not asked")?;
    let arrived = header(head, "traceparent").context("no traceparent")?;
    ensure!(arrived.starts_with(&format!("00-{trace}-")) && !arrived.contains("00f067aa0ba902b7"), "{head}");
    ensure!(header(head, "tracestate") == Some("vendor=1") && header(head, "x-own") == Some("yes"), "{head}");
    ensure!(
        header(head, "host") == Some(&fixture.target.authority()) && header(head, "authorization").is_none(),
        "{head}"
    );
    Ok(())
}

// Goal: nobody waits for an answer longer than asked for. Method: a path that never answers, with a time-out of the guest's own.
pub(crate) async fn an_answer_is_not_waited_for_beyond_the_deadline(fixture: &mut Contract) -> anyhow::Result<()> {
    let probe = fixture.probe().await?;
    let mut operation = fetch(&fixture.target.authority(), "/silent");
    operation["fetch"]["timeout_ms"] = json!(300);
    let began = Instant::now();
    let answer = probe.run(&operation).await?;
    ensure!(answer["Err"].as_str().is_some_and(|code| code.contains("HttpResponseTimeout")), "{answer}");
    ensure!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    Ok(())
}
