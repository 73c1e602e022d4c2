//! Metrics of one link with a policy, looked up once so that a call only adds numbers. Every call that was made is counted once, by how it
//! ended; one that was not made, once by the reason.

use metrics::{Counter, Gauge, Unit};

use super::breaker::BreakerState;
use super::path::Path;

/// The metrics of one link.
pub(super) struct Measures {
    pub(super) succeeded: Counter,
    pub(super) failed: Counter,
    /// The caller gave up before the callee could be blamed.
    pub(super) cut: Counter,
    pub(super) slow: Counter,
    pub(super) rejected_open: Counter,
    pub(super) rejected_full: Counter,
    pub(super) retried: Counter,
    pub(super) retries_denied: Counter,
    pub(super) in_flight: Gauge,
    pub(super) queued: Gauge,
    state: Gauge,
    forced: Gauge,
    opened: Counter,
}

const CALLS: &str = "swiftcart_link_calls_total";
const SLOW: &str = "swiftcart_link_slow_calls_total";
const REJECTIONS: &str = "swiftcart_link_rejections_total";
const RETRIES: &str = "swiftcart_link_retries_total";
const IN_FLIGHT: &str = "swiftcart_link_calls_in_flight";
const QUEUED: &str = "swiftcart_link_calls_queued";
const STATE: &str = "swiftcart_link_breaker_state";
const FORCED: &str = "swiftcart_link_breaker_forced";
const OPENED: &str = "swiftcart_link_breaker_openings_total";

fn describe() {
    metrics::describe_counter!(CALLS, Unit::Count, "Calls that were made over links with a policy, by how they ended.");
    metrics::describe_counter!(SLOW, Unit::Count, "Those of them that took longer than the policy's `slow_call_ms`.");
    metrics::describe_counter!(
        REJECTIONS,
        Unit::Count,
        "Calls that were not made: the breaker is open, or there is no room."
    );
    metrics::describe_counter!(
        RETRIES,
        Unit::Count,
        "Calls that were made again, or could have been but for the budget."
    );
    metrics::describe_gauge!(IN_FLIGHT, Unit::Count, "Calls under way over links with a policy.");
    metrics::describe_gauge!(QUEUED, Unit::Count, "Calls that wait for room in a bulkhead.");
    metrics::describe_gauge!(STATE, "Of a breaker: 0 closed, 1 half-open, 2 open.");
    metrics::describe_gauge!(FORCED, "1 while an operator holds a breaker open or closed.");
    metrics::describe_counter!(OPENED, Unit::Count, "How often a breaker has opened by itself.");
}

impl Measures {
    pub(super) fn new(path: &Path) -> Self {
        describe();
        let labels = || {
            [("source", path.source.clone()), ("target", path.target.clone()), ("interface", path.interface.clone())]
        };
        let counter = |name: &'static str, label: Option<(&'static str, &'static str)>| {
            let labels = labels().into_iter().chain(label.map(|(name, value)| (name, value.to_owned())));
            metrics::counter!(name, &labels.collect::<Vec<_>>())
        };
        let gauge = |name: &'static str| metrics::gauge!(name, &labels());
        let ended = |outcome| counter(CALLS, Some(("outcome", outcome)));
        let rejected = |reason| counter(REJECTIONS, Some(("reason", reason)));
        let retry = |result| counter(RETRIES, Some(("result", result)));
        Self {
            succeeded: ended("succeeded"),
            failed: ended("failed"),
            cut: ended("cut"),
            slow: counter(SLOW, None),
            rejected_open: rejected("breaker_open"),
            rejected_full: rejected("bulkhead_full"),
            retried: retry("made"),
            retries_denied: retry("denied"),
            in_flight: gauge(IN_FLIGHT),
            queued: gauge(QUEUED),
            state: gauge(STATE),
            forced: gauge(FORCED),
            opened: counter(OPENED, None),
        }
    }

    pub(super) fn breaker(&self, state: BreakerState, forced: bool) {
        self.state.set(match state {
            BreakerState::Closed => 0.0,
            BreakerState::HalfOpen => 1.0,
            BreakerState::Open => 2.0,
        });
        self.forced.set(if forced { 1.0 } else { 0.0 });
    }

    pub(super) fn opened(&self) {
        self.opened.increment(1);
    }
}
