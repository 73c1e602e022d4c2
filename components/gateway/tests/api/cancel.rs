//! Cancelling an order.

use swiftcart_gateway::error::CancelError;
use swiftcart_gateway::model::{Order, State};

use crate::{ORDER, fake, golden, header, order, request, send, text, without};

#[test]
fn a_confirmed_order_is_cancelled() {
    let fake = fake();
    let target = format!("/orders/{ORDER}/cancel");
    // Without a body and a content type; a key is ignored.
    let bare = header(without(request("POST", &target, ""), "content-type"), "idempotency-key", "a b");
    let response = send(&fake, &bare);
    assert_eq!((response.status, response.header("etag")), (200, Some("\"3\"")));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert!(
        text(&response)
            .ends_with(r#""createdAt":"2025-09-30T12:34:56.000000Z","refund":{"state":"pending","amount":2598}}"#)
            && text(&response).contains(r#""state":"CANCELLED""#),
        "{}",
        text(&response)
    );
    let user = swiftcart_domain::ids::user_id("https://issuer.example", "alice");
    assert_eq!(*fake.asked.borrow(), [format!("{user} {ORDER}")]);
    assert_eq!(send(&fake, &request("POST", "/orders/none/cancel", "")).status, 404);
    assert_eq!(fake.asked.borrow().len(), 1, "what is no order id goes no further");
    let reader = header(without(request("POST", &target, ""), "x-token-scope"), "x-token-scope", "orders:read");
    assert_eq!(send(&fake, &reader).status, 403);
}

#[test]
fn errors_of_a_cancellation_are_problems() {
    let failed = Order {
        failure: Some(("out_of_stock_after_payment".into(), "Sold out.".into())),
        refund: Some(("succeeded".into(), 2598)),
        ..order(State::Failed)
    };
    let declined = Order { failure: Some(("payment_declined".into(), "Declined.".into())), ..order(State::Failed) };
    let cases = [
        (CancelError::NotFound, 404, None, "order-not-found"),
        (CancelError::NotSettled(5), 409, Some("5"), "order-not-settled"),
        (CancelError::NotSettled(0), 409, Some("1"), "order-not-settled"),
        (CancelError::OrderFailed(Box::new(failed)), 409, None, "order-failed-after-payment"),
        (CancelError::OrderFailed(Box::new(declined)), 409, None, "order-failed-not-cancelled"),
        (CancelError::Unavailable, 503, Some("2"), "unavailable-with-order"),
        (CancelError::Internal, 500, None, "internal"),
    ];
    for (error, status, retry_after, name) in cases {
        let fake = fake();
        *fake.cancel.borrow_mut() = Err(error);
        let response = send(&fake, &request("POST", &format!("/orders/{ORDER}/cancel"), ""));
        assert_eq!((response.status, response.header("retry-after")), (status, retry_after), "{name}");
        golden(name, &response);
    }
}
