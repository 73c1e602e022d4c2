//! Why a call failed, as one host of ours tells another. Invariant: what arrives says the same about "may have acted" as what left; what cannot
//! be read counts as "may have acted".

use serde::{Deserialize, Serialize};

use crate::limits;
use crate::runtime::CallError;

/// A [`CallError`] on the wire.
#[derive(Serialize, Deserialize)]
#[serde(tag = "class", rename_all = "snake_case")]
enum Failure {
    Overloaded { component: String, reason: String },
    BreakerOpen { component: String },
    BulkheadFull { component: String },
    NotRunning { component: String },
    Unreachable { component: String },
    Lost { component: String, reason: String },
    NotLinked { component: String, import: String },
    Instantiate { component: String, reason: String },
    TooDeep,
    Deadline { component: String },
    Trap { component: String, reason: String },
    Nested { component: String, inner: Box<Failure> },
}

/// Reasons of an overload are fixed texts; one that this version does not know arrives as this.
const OVERLOADED: &str = "it is busy";
const OVERLOADS: [&str; 4] = ["its queue is full", "no instance became free in time", TOO_LARGE, SLOW];
/// Said of a call that was not sent because of its size.
pub(super) const TOO_LARGE: &str = "the parameters are larger than a call between hosts may be";
/// Said of a call whose parameters took all of its time.
pub(super) const SLOW: &str = "the parameters did not arrive in time";

/// The bytes that tell `error`, within the limit.
pub(super) fn write(error: &CallError) -> Vec<u8> {
    let bytes = serde_json::to_vec(&tell(error)).unwrap_or_default();
    if bytes.len() <= limits::MAX_REMOTE_FAILURE_BYTES {
        return bytes;
    }
    // A trap with a long backtrace: its beginning says where it happened.
    serde_json::to_vec(&tell(&shortened(error))).unwrap_or_default()
}

/// The error that `bytes` tell of a call to `callee`.
pub(super) fn read(callee: &str, bytes: &[u8]) -> CallError {
    match serde_json::from_slice::<Failure>(bytes) {
        Ok(failure) => hear(failure),
        Err(error) => CallError::Lost {
            component: callee.to_owned(),
            reason: format!("it failed, and why cannot be read: {error}"),
        },
    }
}

fn shortened(error: &CallError) -> CallError {
    let cut = |text: &str| text.chars().take(limits::MAX_REMOTE_FAILURE_BYTES / 16).collect::<String>();
    let whole = cut(&error.root().to_string());
    let component = String::new();
    if error.may_have_acted() {
        CallError::Trap { component, reason: whole }
    } else {
        CallError::Instantiate { component, reason: whole }
    }
}

fn tell(error: &CallError) -> Failure {
    match error.clone() {
        CallError::Overloaded { component, reason } => Failure::Overloaded { component, reason: reason.to_owned() },
        CallError::BreakerOpen { component } => Failure::BreakerOpen { component },
        CallError::BulkheadFull { component } => Failure::BulkheadFull { component },
        CallError::NotRunning { component } => Failure::NotRunning { component },
        CallError::Unreachable { component } => Failure::Unreachable { component },
        CallError::Lost { component, reason } => Failure::Lost { component, reason },
        CallError::NotLinked { component, import } => Failure::NotLinked { component, import },
        CallError::Instantiate { component, reason } => Failure::Instantiate { component, reason },
        CallError::TooDeep => Failure::TooDeep,
        CallError::DeadlineExceeded { component } => Failure::Deadline { component },
        CallError::Trap { component, reason } => Failure::Trap { component, reason },
        CallError::Nested { component, inner } => Failure::Nested { component, inner: Box::new(tell(&inner)) },
    }
}

fn hear(failure: Failure) -> CallError {
    match failure {
        Failure::Overloaded { component, reason } => {
            let reason = OVERLOADS.into_iter().find(|known| *known == reason).unwrap_or(OVERLOADED);
            CallError::Overloaded { component, reason }
        }
        Failure::BreakerOpen { component } => CallError::BreakerOpen { component },
        Failure::BulkheadFull { component } => CallError::BulkheadFull { component },
        Failure::NotRunning { component } => CallError::NotRunning { component },
        Failure::Unreachable { component } => CallError::Unreachable { component },
        Failure::Lost { component, reason } => CallError::Lost { component, reason },
        Failure::NotLinked { component, import } => CallError::NotLinked { component, import },
        Failure::Instantiate { component, reason } => CallError::Instantiate { component, reason },
        Failure::TooDeep => CallError::TooDeep,
        Failure::Deadline { component } => CallError::DeadlineExceeded { component },
        Failure::Trap { component, reason } => CallError::Trap { component, reason },
        Failure::Nested { component, inner } => CallError::Nested { component, inner: Box::new(hear(*inner)) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<CallError> {
        let component = || "callee".to_owned();
        let reason = || "because".to_owned();
        let plain = vec![
            CallError::Overloaded { component: component(), reason: "its queue is full" },
            CallError::BreakerOpen { component: component() },
            CallError::BulkheadFull { component: component() },
            CallError::NotRunning { component: component() },
            CallError::Unreachable { component: component() },
            CallError::Lost { component: component(), reason: reason() },
            CallError::NotLinked { component: component(), import: reason() },
            CallError::Instantiate { component: component(), reason: reason() },
            CallError::TooDeep,
            CallError::DeadlineExceeded { component: component() },
            CallError::Trap { component: component(), reason: reason() },
        ];
        let nested =
            plain.iter().map(|inner| CallError::Nested { component: component(), inner: Box::new(inner.clone()) });
        plain.iter().cloned().chain(nested).collect()
    }

    /// Goal: every failure arrives as it left. Method: there and back, compared by its text and by what it says of acting.
    #[test]
    fn failures_arrive_as_they_left() {
        for error in all() {
            let arrived = read("callee", &write(&error));
            assert_eq!(arrived.to_string(), error.to_string());
            assert_eq!(arrived.class(), error.class());
            assert_eq!(arrived.may_have_acted(), error.may_have_acted());
        }
    }

    /// Goal: a long failure is cut but keeps its meaning; an unreadable one counts as acted. Method: a huge backtrace; noise.
    #[test]
    fn long_and_unreadable_failures_keep_their_meaning() {
        let long = CallError::Trap { component: "callee".to_owned(), reason: "\"x\n".repeat(100_000) };
        let bytes = write(&long);
        assert!(bytes.len() <= limits::MAX_REMOTE_FAILURE_BYTES);
        assert!(read("callee", &bytes).may_have_acted());
        let refused = CallError::Instantiate { component: "callee".to_owned(), reason: "y".repeat(100_000) };
        assert!(!read("callee", &write(&refused)).may_have_acted());
        assert!(read("callee", b"noise").may_have_acted());
    }
}
