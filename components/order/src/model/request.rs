//! Who asks for what, and the order under the lease of the run that works on it. Invariant: the same request has the same fingerprint,
//! and a lease is known by its epoch.

use serde::Serialize;
use sha2::{Digest, Sha256};
use swiftcart_domain::outbox::{self, OutboxEvent};
use swiftcart_domain::seal;
use uuid::Uuid;

use super::{Order, Payment};

/// The route part of an idempotency key's scope.
pub const CREATE_ROUTE: &str = "POST /orders";

/// What a buyer asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Request {
    /// `(sku, quantity)`.
    pub lines: Vec<(String, u32)>,
    /// ISO 4217, as it was sent.
    pub currency: String,
    /// The PSP's name of the payment method.
    pub payment_method: String,
}

impl Request {
    /// SHA-256 of the route and the parsed request, so that white space and the order of members do not matter.
    #[must_use]
    pub fn fingerprint(&self) -> Vec<u8> {
        // A tuple of strings and numbers always has a JSON text.
        let canonical = serde_json::to_vec(&(CREATE_ROUTE, self)).unwrap_or_default();
        Sha256::digest(canonical).to_vec()
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The buyer.
    pub user_id: Uuid,
    /// In clear only here and while it is sealed.
    pub email: Option<String>,
}

/// The W3C trace context of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// `traceparent`.
    pub parent: String,
    /// `tracestate`.
    pub state: Option<String>,
}

impl Trace {
    /// 32 hex digits, or empty.
    #[must_use]
    pub fn id(&self) -> String {
        outbox::trace_id(&self.parent).to_owned()
    }
}

/// An order with what a run needs to go on with it, and the epoch of the lease under which it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The order.
    pub order: Order,
    /// The PSP's name of the payment method.
    pub payment_method: String,
    /// The idempotency key of the create.
    pub key: Option<String>,
    /// The buyer's sealed mail address.
    pub sealed_email: Option<Vec<u8>>,
    /// The trace of the create.
    pub trace: Trace,
    /// Grows with each holder; the first run has 1.
    pub epoch: i64,
    /// The buyer was told 202; from then on only the sweep works on it.
    pub answered_pending: bool,
    /// The payment of a decided order, if the PSP gave it an id.
    pub payment: Option<Payment>,
    /// The PSP's id of the refund that was told last. A refund that failed never succeeds later, so it says which of two events is the older one.
    pub refund_id: Option<String>,
}

impl Held {
    /// Whether an earlier run may have reserved or charged.
    #[must_use]
    pub fn is_resumed(&self) -> bool {
        self.epoch > 1
    }

    /// The event with the buyer's sealed address, if there is one.
    pub(super) fn addressed(&self, event: OutboxEvent) -> OutboxEvent {
        match &self.sealed_email {
            Some(sealed) => event.with_header(seal::HEADER, seal::to_header(sealed)),
            None => event,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn request() -> Request {
        Request {
            lines: vec![("A".into(), 1), ("B".into(), 2)],
            currency: "USD".into(),
            payment_method: "pm_card_visa".into(),
        }
    }

    #[test]
    fn a_fingerprint_tells_requests_apart() {
        let base = request().fingerprint();
        assert_eq!(base.len(), 32);
        assert_eq!(base, request().fingerprint());
        for other in [
            Request { currency: "EUR".into(), ..request() },
            Request { payment_method: "pm".into(), ..request() },
            Request { lines: vec![("A".into(), 1)], ..request() },
            Request { lines: vec![("A".into(), 2), ("B".into(), 1)], ..request() },
            Request { lines: vec![("B".into(), 2), ("A".into(), 1)], ..request() },
        ] {
            assert_ne!(base, other.fingerprint(), "{other:?}");
        }
    }
}
