//! The payment provider's own calls.

use swiftcart_gateway::error::WebhookError;
use swiftcart_gateway::ports::Webhooks;

use super::{Fake, fake, header, problem, request, send, text, without};

impl Webhooks for Fake {
    fn receive(&self, signature: &str, body: &[u8]) -> Result<(), WebhookError> {
        self.asked.borrow_mut().push(format!("{signature} {body:?}"));
        self.webhook.borrow().clone()
    }
}

#[test]
fn the_payment_provider_is_known_by_its_signature_alone() {
    let fake = fake();
    let unsigned = || {
        let request = without(request("POST", "/webhooks/stripe", "{\"id\": \"evt\" }"), "x-token-subject");
        header(without(request, "content-type"), "accept", "*/*; q=0.5, application/xml")
    };
    let signed = || header(unsigned(), "stripe-signature", "t=1,v1=ab");
    let taken = send(&fake, &signed());
    assert_eq!((taken.status, text(&taken).as_str()), (200, r#"{"received":true}"#));
    // The bytes as they came: white space is signed too.
    assert_eq!(*fake.asked.borrow(), [format!("t=1,v1=ab {:?}", b"{\"id\": \"evt\" }")]);
    for bad in [
        unsigned(),
        header(signed(), "stripe-signature", "t=1,v1=ab"),
        header(unsigned(), "stripe-signature", "\u{e4}"),
    ] {
        fake.asked.borrow_mut().clear();
        *fake.webhook.borrow_mut() = Err(WebhookError::BadSignature);
        assert_eq!(problem(&send(&fake, &bad))["type"], "/problems/invalid-request");
    }
    for (error, status) in [
        (WebhookError::BadSignature, 400),
        (WebhookError::Invalid("not an event".into()), 400),
        (WebhookError::Unavailable, 503),
        (WebhookError::Internal, 500),
    ] {
        *fake.webhook.borrow_mut() = Err(error);
        assert_eq!(send(&fake, &signed()).status, status);
    }
    assert_eq!(send(&fake, &request("GET", "/webhooks/stripe", "")).status, 405);
}
