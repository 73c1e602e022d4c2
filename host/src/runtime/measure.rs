//! Metrics of one component's calls, looked up once so that a call only adds numbers. Every call is counted once, by how it ended.

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Unit};

/// The metrics of one component.
pub struct Measures {
    /// Calls that are running.
    pub running: Gauge,
    /// Calls that wait for an instance.
    pub queued: Gauge,
    /// Instances made so far.
    pub instances: Counter,
    queue_seconds: Histogram,
    call_seconds: Histogram,
    answered: Counter,
    component: String,
}

impl Measures {
    /// Metrics with the label `component`.
    #[must_use]
    pub fn new(component: &str) -> Self {
        metrics::describe_gauge!("swiftcart_component_calls_running", Unit::Count, "Calls that components serve now.");
        metrics::describe_gauge!("swiftcart_component_calls_queued", Unit::Count, "Calls that wait for an instance.");
        metrics::describe_counter!("swiftcart_component_instances_total", Unit::Count, "Instances made.");
        metrics::describe_histogram!(
            "swiftcart_component_queue_wait_seconds",
            Unit::Seconds,
            "Time that calls waited for an instance; those that did not wait are not in it."
        );
        metrics::describe_histogram!(
            "swiftcart_component_call_duration_seconds",
            Unit::Seconds,
            "Time of calls, without waiting."
        );
        metrics::describe_counter!("swiftcart_component_calls_total", Unit::Count, "Calls by how they ended.");
        let name = || component.to_owned();
        Self {
            running: metrics::gauge!("swiftcart_component_calls_running", "component" => name()),
            queued: metrics::gauge!("swiftcart_component_calls_queued", "component" => name()),
            instances: metrics::counter!("swiftcart_component_instances_total", "component" => name()),
            queue_seconds: metrics::histogram!("swiftcart_component_queue_wait_seconds", "component" => name()),
            call_seconds: metrics::histogram!("swiftcart_component_call_duration_seconds", "component" => name()),
            answered: metrics::counter!("swiftcart_component_calls_total", "component" => name(), "outcome" => "answered"),
            component: name(),
        }
    }

    /// A call got its instance after waiting.
    pub fn waited(&self, time: Duration) {
        self.queue_seconds.record(time);
    }

    /// A call ended with an answer.
    pub fn answered(&self, time: Duration) {
        self.call_seconds.record(time);
        self.answered.increment(1);
    }

    /// A call ended without an answer; `class` is that of the error.
    pub fn failed(&self, class: &'static str) {
        metrics::counter!("swiftcart_component_calls_total", "component" => self.component.clone(), "outcome" => class)
            .increment(1);
        metrics::counter!(crate::telemetry::names::COMPONENT_FAILURES, "component" => self.component.clone(), "class" => class).increment(1);
    }
}
