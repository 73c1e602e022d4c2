//! Problem documents (RFC 9457). Invariant: every problem that a client can meet, the edge's own included, is in [`Kind::ALL`], and the
//! same problem always has the same bytes.

use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::Value;

use crate::http::{NO_STORE, Response};

macro_rules! kinds {
    ($($variant:ident $status:literal $name:literal $title:literal $text:literal;)*) => {
        /// The kinds of problem; the name is the end of the `type`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind {
            $(#[doc = $title] $variant,)*
        }

        impl Kind {
            /// All of them, by status.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// kebab-case.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
            /// HTTP status.
            #[must_use]
            pub fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }
            /// The same for every occurrence.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
            /// What it means and what to do, for the page of its type.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

kinds! {
    InvalidRequest 400 "invalid-request" "The request is not valid"
        "The shape of the request is wrong; `detail` names the place and what was expected there. Change the request.";
    Unauthorized 401 "unauthorized" "A valid access token is needed"
        "There is no access token, or it does not hold. Get a new one.";
    PaymentDeclined 402 "payment-declined" "The payment was declined"
        "The payment provider said no; `declineCode` says why as far as that may be shown. Use another payment method with a new idempotency key.";
    Forbidden 403 "forbidden" "The access token does not allow this"
        "The token lacks the scope that `WWW-Authenticate` names.";
    NotFound 404 "not-found" "There is no such thing"
        "The path does not exist, or what it names does not, or belongs to somebody else.";
    MethodNotAllowed 405 "method-not-allowed" "The method is not allowed here"
        "`Allow` lists the methods of this path.";
    NotAcceptable 406 "not-acceptable" "The answer cannot be given in the wanted form"
        "`Accept` excludes the only form that there is.";
    RequestTimeout 408 "request-timeout" "The request took too long to arrive"
        "Send it again.";
    OutOfStock 409 "out-of-stock" "There is not enough stock"
        "`shortages` names the lines that are short. Nothing was charged; order less with a new idempotency key.";
    IdempotencyKeyInFlight 409 "idempotency-key-in-flight" "The first request with this idempotency key is still running"
        "Send the same request again after the time in `Retry-After`.";
    OrderFailed 409 "order-failed" "The order has failed"
        "`failure` says why. Nothing is charged for it; what was charged before is given back, and `refund` says how far that is.";
    OrderNotSettled 409 "order-not-settled" "The order is not settled yet"
        "It is pending: its payment is not known yet. It settles by itself; try again after the time in `Retry-After`.";
    StockBelowZero 409 "stock-below-zero" "The stock would fall below zero"
        "`available` is what can be taken away at most.";
    PayloadTooLarge 413 "payload-too-large" "The request body is too large"
        "Send less.";
    UriTooLong 414 "uri-too-long" "The URI is too long"
        "Send a shorter one.";
    UnsupportedMediaType 415 "unsupported-media-type" "The request body has the wrong media type"
        "Send `Content-Type: application/json` in UTF-8, without a content coding.";
    UnknownSku 422 "unknown-sku" "Some products do not exist"
        "`skus` names them.";
    CurrencyMismatch 422 "currency-mismatch" "Some products are sold in another currency"
        "`skus` names them.";
    AmountOutOfRange 422 "amount-out-of-range" "The total is outside what can be charged"
        "Order more or less.";
    IdempotencyKeyReused 422 "idempotency-key-reused" "The idempotency key was used with another request"
        "Use a new key for a new request.";
    RateLimited 429 "rate-limited" "Too many requests"
        "Wait for the time in `Retry-After`.";
    HeadersTooLarge 431 "headers-too-large" "The request headers are too large"
        "Send less.";
    Internal 500 "internal" "An error on our side"
        "It is logged under `traceId`. The same request with the same idempotency key may be sent again.";
    PaymentUnavailable 503 "payment-unavailable" "Payments are not available at the moment"
        "Nothing was charged and the order has failed. The same request with the same idempotency key may be sent again and makes a new order.";
    Overloaded 503 "overloaded" "Too busy at the moment"
        "Nothing was done. Try again after the time in `Retry-After`.";
    Unavailable 503 "unavailable" "Not available at the moment"
        "Try the same request with the same idempotency key again after the time in `Retry-After`.";
}

/// One occurrence. Boxed, for it travels as the error of every step.
#[derive(Clone, Debug)]
pub struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    kind: Kind,
    detail: String,
    trace_id: String,
    order_id: Option<String>,
    extra: Vec<(&'static str, Value)>,
    headers: Vec<(&'static str, String)>,
}

impl Problem {
    /// A problem with what happened this time.
    #[must_use]
    pub fn new(kind: Kind, trace_id: &str, detail: impl Into<String>) -> Self {
        let (detail, trace_id) = (detail.into(), trace_id.to_owned());
        Self(Box::new(Parts { kind, detail, trace_id, order_id: None, extra: Vec::new(), headers: Vec::new() }))
    }

    /// Names the order, if there is one.
    #[must_use]
    pub fn order(mut self, order_id: impl Into<Option<String>>) -> Self {
        self.0.order_id = order_id.into();
        self
    }

    /// Adds a member.
    #[must_use]
    pub fn member(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.extra.push((name, value.into()));
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.headers.push((name, value.into()));
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        self.header("retry-after", seconds.to_string())
    }

    /// The response.
    #[must_use]
    pub fn response(mut self) -> Response {
        // Strings and numbers always serialise; an empty body would still carry the status.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(self.0.kind.status(), "application/problem+json", NO_STORE, body);
        response.headers.append(&mut self.0.headers);
        response
    }
}

impl Serialize for Problem {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format!("/problems/{}", self.0.kind.name()))?;
        map.serialize_entry("title", self.0.kind.title())?;
        map.serialize_entry("status", &self.0.kind.status())?;
        map.serialize_entry("detail", &self.0.detail)?;
        map.serialize_entry("traceId", &self.0.trace_id)?;
        if let Some(order_id) = &self.0.order_id {
            map.serialize_entry("orderId", order_id)?;
        }
        for (name, value) in &self.0.extra {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_listed_once_and_by_status() {
        assert!(Kind::ALL.is_sorted_by_key(|kind| kind.status()));
        for (index, kind) in Kind::ALL.iter().enumerate() {
            assert!(kind.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
            assert!(Kind::ALL.iter().skip(index + 1).all(|other| other.name() != kind.name()), "{}", kind.name());
        }
    }
}
