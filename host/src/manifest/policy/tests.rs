//! Every key, every default, every mistake.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;

fn settings(pairs: &[(&str, &str)]) -> Settings {
    let values = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Settings { values, ..Settings::default() }
}

fn read(pairs: &[(&str, &str)]) -> Result<LinkPolicy, Vec<String>> {
    LinkPolicy::read(&settings(pairs)).map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

#[test]
fn without_keys_there_is_no_policy() {
    assert!(read(&[("address", "127.0.0.1:0"), ("policy", "none")]).unwrap().is_empty());
}

#[test]
fn one_key_of_a_group_brings_its_defaults() {
    let policy = read(&[
        ("policy.retry.attempts", "2"),
        ("policy.breaker.minimum_calls", "5"),
        ("policy.bulkhead.max_concurrent", "8"),
    ]);
    let expected = LinkPolicy {
        deadline: None,
        retry: Some(RetryPolicy {
            attempts: 2,
            base: Duration::from_millis(50),
            max: Duration::from_secs(1),
            idempotent: false,
            budget_percent: 20,
            budget_per_second: 1,
        }),
        breaker: Some(BreakerPolicy {
            window: BreakerWindow::Calls(50),
            failure_rate_percent: 50,
            slow_call: None,
            slow_rate_percent: 50,
            minimum_calls: 5,
            open: Duration::from_secs(1),
            open_max: Duration::from_secs(30),
            half_open_probes: 3,
        }),
        bulkhead: Some(BulkheadPolicy { max_concurrent: 8, max_queued: 0, queue: Duration::from_secs(1) }),
    };
    assert_eq!(policy.unwrap(), expected);
}

#[test]
fn every_key_is_read() {
    let value = |key: &&str| match *key {
        "policy.retry.idempotent" => "true".to_owned(),
        "policy.breaker.window_calls" => "70".to_owned(),
        key => (10 + KEYS.iter().position(|known| *known == key).unwrap()).to_string(),
    };
    let pairs: Vec<(&str, String)> =
        KEYS.iter().filter(|key| **key != "policy.breaker.window_ms").map(|key| (*key, value(key))).collect();
    let pairs: Vec<(&str, &str)> = pairs
        .iter()
        .map(|(key, value)| (*key, if *key == "policy.retry.attempts" { "4" } else { value.as_str() }))
        .collect();
    let policy = read(&pairs).unwrap();
    let ms = Duration::from_millis;
    assert_eq!(policy.deadline, Some(ms(10)));
    let retry = RetryPolicy {
        attempts: 4,
        base: ms(12),
        max: ms(13),
        idempotent: true,
        budget_percent: 15,
        budget_per_second: 16,
    };
    assert_eq!(policy.retry, Some(retry));
    let breaker = BreakerPolicy {
        window: BreakerWindow::Calls(70),
        failure_rate_percent: 19,
        slow_call: Some(ms(20)),
        slow_rate_percent: 21,
        minimum_calls: 22,
        open: ms(23),
        open_max: ms(24),
        half_open_probes: 25,
    };
    assert_eq!(policy.breaker, Some(breaker));
    assert_eq!(policy.bulkhead, Some(BulkheadPolicy { max_concurrent: 26, max_queued: 27, queue: ms(28) }));
    let by_time = read(&[("policy.breaker.window_ms", "250")]).unwrap().breaker.unwrap();
    assert_eq!(by_time.window, BreakerWindow::Time(ms(250)));
}

#[test]
fn all_mistakes_are_told_at_once() {
    let keys = KEYS.join(", ");
    for (pairs, expected) in [
        (&[("policy.deadline", "1")][..], vec![format!("`policy.deadline` is not known, expected one of: {keys}")]),
        (
            &[("policy.deadline_ms", "2s"), ("policy.retry.idempotent", "yes"), ("policy.retry.attempts", "1")],
            vec![
                "`policy.deadline_ms` is `2s`, expected a whole number from 1 to 600000".to_owned(),
                "`policy.retry.attempts` is `1`, expected a whole number from 2 to 10".to_owned(),
                "`policy.retry.idempotent` is `yes`, expected `true` or `false`".to_owned(),
            ],
        ),
        (
            &[("policy.breaker.window_calls", "20"), ("policy.breaker.window_ms", "1000")],
            vec!["`policy.breaker.window_calls` and `policy.breaker.window_ms` exclude each other".to_owned()],
        ),
        (
            &[("policy.breaker.slow_rate_percent", "20")],
            vec!["`policy.breaker.slow_rate_percent` needs `policy.breaker.slow_call_ms`".to_owned()],
        ),
        (
            &[("policy.breaker.window_calls", "5")],
            vec!["`policy.breaker.minimum_calls` (by default 10) is more than `policy.breaker.window_calls` (by default 50): it would never open".to_owned()],
        ),
        (
            &[("policy.breaker.open_ms", "31000")],
            vec!["`policy.breaker.open_ms` is more than `policy.breaker.open_max_ms` (by default 30000)".to_owned()],
        ),
        (
            &[("policy.bulkhead.queue_ms", "5")],
            vec![
                "`policy.bulkhead` needs `policy.bulkhead.max_concurrent`".to_owned(),
                "`policy.bulkhead.queue_ms` needs `policy.bulkhead.max_queued`".to_owned(),
            ],
        ),
        (
            &[("policy.bulkhead.max_concurrent", "0")],
            vec!["`policy.bulkhead.max_concurrent` is `0`, expected a whole number from 1 to 100000".to_owned()],
        ),
        (
            &[("policy.retry.base_ms", "1500")],
            vec!["`policy.retry.base_ms` is more than `policy.retry.max_ms` (by default 1000)".to_owned()],
        ),
    ] {
        assert_eq!(read(pairs).unwrap_err(), expected, "{pairs:?}");
    }
    let mut secret = settings(&[]);
    secret.secrets.insert("policy.deadline_ms".to_owned(), "1".into());
    let errors = LinkPolicy::read(&secret).unwrap_err();
    assert_eq!(errors, [PolicyError::Key(KeyError::Secret { key: "policy.deadline_ms".to_owned() })]);
}
