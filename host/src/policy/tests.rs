//! Policies as links come, change and go, and calls under them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use wasmtime::component::Val;

use super::*;
use crate::manifest::Settings;
use crate::runtime::{CallContext, CallError, TraceContext};

const ID: &str = "caller.callee.test.calls.echo";

fn link(pairs: &[(&str, &str)]) -> LinkPlan {
    LinkPlan {
        source: "caller".to_owned(),
        target: "callee".to_owned(),
        name: "default".to_owned(),
        namespace: "test".to_owned(),
        package: "calls".to_owned(),
        interfaces: vec!["echo".to_owned()],
        source_config: Settings {
            values: pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            ..Settings::default()
        },
        target_config: Settings::default(),
    }
}

const BREAKER: [(&str, &str); 2] = [("policy.breaker.minimum_calls", "2"), ("policy.breaker.open_ms", "30000")];

fn call() -> CallContext {
    CallContext::new(TraceContext::root(), Duration::from_secs(10))
}

fn trap() -> Result<(), CallError> {
    Err(CallError::Trap { component: "callee".to_owned(), reason: String::new() })
}

fn state(guards: &Guards) -> String {
    let shown = guards.breakers();
    shown["breakers"][0]["state"].as_str().unwrap_or("none").to_owned()
}

async fn fail(guards: &Guards, times: u32) {
    let active = guards.of("caller", "callee", "test:calls/echo").active().unwrap();
    for _ in 0..times {
        drop(active.admit(&call()).await.unwrap().end(&trap(), &[]));
    }
}

#[tokio::test]
async fn without_a_policy_there_is_nothing_on_the_way() {
    let guards = Guards::default();
    let guard = guards.of("caller", "callee", "test:calls/echo");
    assert_eq!(guards.set(&[link(&[("address", "x")])]), Vec::<String>::new());
    assert!(guard.active().is_none());
    assert_eq!(guards.breakers(), json!({"breakers": []}));
}

#[tokio::test]
async fn the_state_outlives_links_that_are_put_again_and_ends_with_the_policy() {
    let guards = Guards::default();
    // As the linker of a component holds it.
    let guard = guards.of("caller", "callee", "test:calls/echo");
    guards.set(&[link(&BREAKER)]);
    fail(&guards, 2).await;
    assert_eq!(state(&guards), "open");
    let refused = guard.active().unwrap().admit(&call()).await.map(drop).unwrap_err();
    assert_eq!((refused.class(), refused.may_have_acted()), ("breaker_open", false));
    guards.set(&[link(&BREAKER)]);
    assert_eq!(state(&guards), "open");
    guards.set(&[link(&[BREAKER[0], BREAKER[1], ("policy.deadline_ms", "50")])]);
    assert_eq!(state(&guards), "open", "another key changed");
    assert!(guard.active().unwrap().within(call()).remaining() <= Duration::from_millis(50));
    guards.set(&[link(&[])]);
    assert!(guard.active().is_none());
    guards.set(&[link(&BREAKER)]);
    assert_eq!(state(&guards), "closed");
    guards.set(&[]);
    assert!(guard.active().is_none(), "the link is gone");
    guards.set(&[link(&BREAKER)]);
    assert!(guard.active().is_some(), "and back");
}

#[test]
fn a_policy_that_cannot_be_read_leaves_the_one_before() {
    let guards = Guards::default();
    let guard = guards.of("caller", "callee", "test:calls/echo");
    guards.set(&[link(&BREAKER)]);
    let errors = guards.set(&[link(&[("policy.breaker.minimum_calls", "few")])]);
    assert_eq!(
        errors,
        [
            "link `caller` -> `callee` (test:calls): `policy.breaker.minimum_calls` is `few`, expected a whole number from 1 to 10000"
        ]
    );
    assert_eq!(guard.breaker_policy().unwrap().minimum_calls, 2);
}

#[tokio::test]
async fn an_operator_forces_and_frees() {
    let guards = Guards::default();
    guards.set(&[link(&BREAKER)]);
    assert_eq!(guards.force("caller.callee.test.calls.other", Some(Forced::Open)), None);
    let shown = guards.force(ID, Some(Forced::Open)).unwrap();
    assert_eq!((&shown["state"], &shown["forced"]), (&json!("open"), &json!("open")));
    let active = guards.of("caller", "callee", "test:calls/echo").active().unwrap();
    assert!(active.admit(&call()).await.is_err());
    guards.force(ID, Some(Forced::Closed)).unwrap();
    fail(&guards, 10).await;
    let shown = guards.force(ID, None).unwrap();
    assert_eq!((&shown["state"], &shown["forced"]), (&json!("closed"), &json!(null)));
}

#[tokio::test]
async fn a_full_bulkhead_and_dropped_calls_are_no_failures_of_the_callee() {
    let guards = Guards::default();
    guards.set(&[link(&[BREAKER[0], BREAKER[1], ("policy.bulkhead.max_concurrent", "1")])]);
    let active = guards.of("caller", "callee", "test:calls/echo").active().unwrap();
    let pass = active.admit(&call()).await.unwrap();
    for _ in 0..10 {
        let refused = active.admit(&call()).await.map(drop).unwrap_err();
        assert_eq!((refused.class(), refused.may_have_acted()), ("bulkhead_full", false));
    }
    // Its caller gives up after a moment.
    drop(pass);
    for _ in 0..10 {
        let pass = active.admit(&call()).await.unwrap();
        drop(pass.end(&Err(CallError::DeadlineExceeded { component: "callee".to_owned() }), &[]));
    }
    assert_eq!(state(&guards), "closed");
}

/// Goal: whoever has no patience cannot open the breaker for all others. Method: callers who leave the callee a moment, and one who leaves it time.
#[tokio::test]
async fn an_unknown_outcome_counts_only_if_there_was_time_to_know() {
    let guards = Guards::default();
    guards.set(&[link(&[BREAKER[0], BREAKER[1]])]);
    let active = guards.of("caller", "callee", "test:calls/echo").active().unwrap();
    let unknown = [Val::Variant("unknown".to_owned(), Some(Box::new(Val::String("cut".to_owned()))))];
    for _ in 0..10 {
        let hurried = CallContext::new(TraceContext::root(), Duration::from_millis(800));
        drop(active.admit(&hurried).await.unwrap().end(&Ok(()), &unknown));
    }
    assert_eq!(state(&guards), "closed");
    for _ in 0..2 {
        drop(active.admit(&call()).await.unwrap().end(&Ok(()), &unknown));
    }
    assert_eq!(state(&guards), "open");
}

#[tokio::test]
async fn a_deadline_of_the_link_itself_is_a_failure_of_the_callee() {
    let guards = Guards::default();
    guards.set(&[link(&[BREAKER[0], BREAKER[1], ("policy.deadline_ms", "1")])]);
    let active = guards.of("caller", "callee", "test:calls/echo").active().unwrap();
    for _ in 0..2 {
        let pass = active.admit(&call()).await.unwrap();
        std::thread::sleep(Duration::from_millis(2));
        drop(pass);
    }
    assert_eq!(state(&guards), "open");
}

#[test]
fn a_deadline_goes_down_the_chain_and_is_never_made_longer() {
    let guards = Guards::default();
    let onward =
        LinkPlan { source: "callee".to_owned(), target: "third".to_owned(), ..link(&[("policy.deadline_ms", "9000")]) };
    guards.set(&[link(&[("policy.deadline_ms", "50")]), onward]);
    let active = |source: &str, target: &str| guards.of(source, target, "test:calls/echo").active().unwrap();
    let first = active("caller", "callee").within(call());
    let second = active("callee", "third").within(first.nested().unwrap());
    assert!(first.remaining() <= Duration::from_millis(50));
    assert_eq!(second.depth, 1);
    assert!(second.deadline <= first.deadline && second.deadline > first.deadline - Duration::from_millis(25));
    let hurried = CallContext::new(TraceContext::root(), Duration::from_millis(10));
    assert_eq!(active("caller", "callee").within(hurried.clone()).deadline, hurried.deadline, "the caller has less");
}
