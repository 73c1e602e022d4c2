//! What travels with every call, and how a call can fail. Says of each failure whether the callee may have acted.

use std::time::{Duration, Instant};

use super::{Chain, TraceContext};
use crate::limits;

/// Travels from the edge through every component that serves the call.
#[derive(Clone, Debug)]
pub struct CallContext {
    /// Place in the trace.
    pub trace: TraceContext,
    /// Nobody waits for an answer after this moment.
    pub deadline: Instant,
    /// How many components are above this call.
    pub depth: u32,
    /// Numbers what the call sets off, in a host for tests.
    pub chain: Chain,
}

impl CallContext {
    /// A call that begins here.
    #[must_use]
    pub fn new(trace: TraceContext, timeout: Duration) -> Self {
        Self { trace, deadline: Instant::now() + timeout, depth: 0, chain: Chain::default() }
    }

    /// When whatever is asked for while serving this call must have ended: a little before the call itself, so that its own answer, that nobody knows
    /// how it went, still comes in time.
    #[must_use]
    pub fn deadline_of_callees(&self) -> Instant {
        let reserve = (self.remaining() / limits::ANSWER_RESERVE_SHARE).min(limits::ANSWER_RESERVE);
        self.deadline.checked_sub(reserve).unwrap_or(self.deadline)
    }

    /// The context of a call made while serving this one.
    ///
    /// # Errors
    /// [`CallError::TooDeep`] when components call each other in a circle.
    pub fn nested(&self) -> Result<Self, CallError> {
        if self.depth >= limits::MAX_CALL_DEPTH {
            return Err(CallError::TooDeep);
        }
        Ok(Self {
            trace: self.trace.child(),
            deadline: self.deadline_of_callees(),
            depth: self.depth + 1,
            chain: self.chain.clone(),
        })
    }

    /// Time that is left.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// Why a call gave no answer of the component's own.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// All instances are busy and the queue is full, or the wait was too long. The callee did nothing.
    #[error("component {component} is overloaded: {reason}")]
    Overloaded {
        /// The callee.
        component: String,
        /// Queue full or wait too long.
        reason: &'static str,
    },
    /// The breaker of the link is open. The callee was not called.
    #[error("component {component} is not called: the breaker of the link is open")]
    BreakerOpen {
        /// The callee.
        component: String,
    },
    /// The bulkhead of the link is full. The callee was not called.
    #[error("component {component} is not called: the bulkhead of the link is full")]
    BulkheadFull {
        /// The callee.
        component: String,
    },
    /// The component is not running. The callee did nothing.
    #[error("component {component} is not running")]
    NotRunning {
        /// The callee.
        component: String,
    },
    /// The component runs on no host that can be reached. It did nothing.
    #[error("component {component} runs nowhere in this lattice")]
    Unreachable {
        /// The callee.
        component: String,
    },
    /// The conversation with another host broke off. What the callee did is not known.
    #[error("the call to component {component} on another host was lost: {reason}")]
    Lost {
        /// The callee.
        component: String,
        /// How it broke off.
        reason: String,
    },
    /// The caller has no link that leads anywhere for this import.
    #[error("component {component} has no link for {import}")]
    NotLinked {
        /// The caller.
        component: String,
        /// What it imports.
        import: String,
    },
    /// No instance could be made. The callee did nothing.
    #[error("component {component} cannot be instantiated: {reason}")]
    Instantiate {
        /// The callee.
        component: String,
        /// The engine's words.
        reason: String,
    },
    /// Components call each other in a circle.
    #[error("calls between components are nested deeper than {max}", max = limits::MAX_CALL_DEPTH)]
    TooDeep,
    /// Time ran out while the callee was at work. What it did is not known.
    #[error("component {component} gave no answer in time")]
    DeadlineExceeded {
        /// The callee.
        component: String,
    },
    /// The callee trapped. What it did before is not known.
    #[error("component {component} trapped: {reason}")]
    Trap {
        /// The callee.
        component: String,
        /// The trap and where it happened.
        reason: String,
    },
    /// The callee's own call to another component failed, and its contract has no word for that.
    #[error("component {component} could not go on: {inner}")]
    Nested {
        /// The callee.
        component: String,
        /// What happened below.
        inner: Box<CallError>,
    },
}

impl CallError {
    /// Whether the callee may have done something before the call failed.
    #[must_use]
    pub fn may_have_acted(&self) -> bool {
        matches!(self, Self::DeadlineExceeded { .. } | Self::Trap { .. } | Self::Nested { .. } | Self::Lost { .. })
    }

    /// The failure where it began, below any nesting.
    #[must_use]
    pub fn root(&self) -> &Self {
        match self {
            Self::Nested { inner, .. } => inner.root(),
            other => other,
        }
    }

    /// One word for metrics.
    #[must_use]
    pub fn class(&self) -> &'static str {
        match self {
            Self::Overloaded { .. } => "overloaded",
            Self::BreakerOpen { .. } => "breaker_open",
            Self::BulkheadFull { .. } => "bulkhead_full",
            Self::NotRunning { .. } => "not_running",
            Self::Instantiate { .. } => "instantiate",
            Self::Unreachable { .. } => "unreachable",
            Self::Lost { .. } => "lost",
            Self::NotLinked { .. } => "not_linked",
            Self::TooDeep => "too_deep",
            Self::DeadlineExceeded { .. } => "deadline",
            Self::Trap { .. } => "trap",
            Self::Nested { .. } => "nested",
        }
    }
}
