//! The route of the payment provider's own calls. Invariant: the bytes go on as they came, for they are what was signed; nothing but the signature says
//! who calls, so the route is public at the edge.

use super::{Answer, Gateway, internal, invalid, unavailable};
use crate::error::WebhookError;
use crate::http::{NO_STORE, Request, Response};

impl Gateway<'_> {
    pub(super) fn stripe_webhook(&self, request: &Request) -> Answer {
        let mut signatures = request.all("stripe-signature");
        let (Some(signature), None) = (signatures.next(), signatures.next()) else {
            return Err(invalid(request, "header Stripe-Signature: must be there once"));
        };
        let bad_signature = || invalid(request, "header Stripe-Signature: does not hold for this body, or is too old");
        let signature = std::str::from_utf8(signature).map_err(|_| bad_signature())?;
        match self.webhooks.receive(signature, &request.body) {
            Ok(()) => Ok(Response::new(200, "application/json", NO_STORE, r#"{"received":true}"#)),
            Err(WebhookError::BadSignature) => Err(bad_signature()),
            Err(WebhookError::Invalid(reason)) => Err(invalid(request, format!("the body: {reason}"))),
            // Not 2xx, so the provider delivers it again.
            Err(WebhookError::Unavailable) => Err(unavailable(request.trace_id())),
            Err(WebhookError::Internal) => Err(internal(request.trace_id())),
        }
    }
}
