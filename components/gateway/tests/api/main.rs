//! Goal: every route answers with the status, headers and bytes of the contract. Method: requests against fakes of the services below;
//! problem bodies are compared with golden files (`tests/golden/problems`); `SWIFTCART_BLESS=1` writes them anew.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "tests")]

mod cancel;
mod products;
mod webhooks;

use std::cell::RefCell;
use std::path::PathBuf;

use serde_json::{Value, json};
use swiftcart_gateway::error::{CancelError, CatalogError, CreateError, QueryError, Refusal, WebhookError};
use swiftcart_gateway::http::{Request, Response};
use swiftcart_gateway::model::{
    Adjustment, Caller, Creation, Decision, Line, NewOrder, Order, Page, Product, Reason, Shortage, State,
};
use swiftcart_gateway::ports::{Catalog, Orders};
use swiftcart_gateway::problem::Kind;
use swiftcart_gateway::route::Route;
use swiftcart_gateway::service::Gateway;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const FIRST_TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const ORDER: &str = "01999a7b-3c80-7def-8123-456789abcdef";
const BODY: &str = r#"{"items":[{"sku":"SKU-123","qty":2}],"currency":"USD","payment":{"method":"pm_card_visa"}}"#;

/// Answers what it is told to, and remembers what it was asked.
struct Fake {
    create: RefCell<Result<Creation, CreateError>>,
    get: RefCell<Result<Order, QueryError>>,
    cancel: RefCell<Result<Order, CancelError>>,
    product: RefCell<Result<(Product, bool), CatalogError>>,
    webhook: RefCell<Result<(), WebhookError>>,
    asked: RefCell<Vec<String>>,
}

impl Orders for Fake {
    fn create(&self, caller: &Caller, key: Option<&str>, order: &NewOrder) -> Result<Creation, CreateError> {
        self.asked.borrow_mut().push(format!("{caller:?} {key:?} {order:?}"));
        self.create.borrow().clone()
    }
    fn get(&self, _: &Caller, _: &str) -> Result<Order, QueryError> {
        self.get.borrow().clone()
    }
    fn cancel(&self, caller: &Caller, order_id: &str) -> Result<Order, CancelError> {
        self.asked.borrow_mut().push(format!("{} {order_id}", caller.user_id));
        self.cancel.borrow().clone()
    }
    fn list(
        &self,
        _: &Caller,
        cursor: Option<&str>,
        state: Option<State>,
        limit: u32,
    ) -> Result<Page<Order>, QueryError> {
        self.asked.borrow_mut().push(format!("{cursor:?} {state:?} {limit}"));
        self.get.borrow().clone().map(|order| Page { items: vec![order], next_cursor: Some("next".into()) })
    }
}

impl Catalog for Fake {
    fn get(&self, _: &str) -> Result<Product, CatalogError> {
        self.product.borrow().clone().map(|(product, _)| product)
    }
    fn list(&self, cursor: Option<&str>, limit: u32) -> Result<Page<Product>, CatalogError> {
        self.asked.borrow_mut().push(format!("{cursor:?} {limit}"));
        self.product.borrow().clone().map(|(product, _)| Page { items: vec![product], next_cursor: None })
    }
    fn put(&self, sku: &str, name: &str, unit_price: u64, currency: &str) -> Result<(Product, bool), CatalogError> {
        self.asked.borrow_mut().push(format!("{sku} {name} {unit_price} {currency}"));
        self.product.borrow().clone()
    }
    fn adjust(&self, sku: &str, adjustment: &Adjustment) -> Result<(Product, bool), CatalogError> {
        self.asked.borrow_mut().push(format!("{sku} {adjustment:?}"));
        self.product.borrow().clone()
    }
}

fn order(state: State) -> Order {
    Order {
        id: ORDER.into(),
        state,
        lines: vec![Line { sku: "SKU-123".into(), quantity: 2, unit_price: 1299 }],
        total_amount: 2598,
        currency: "USD".into(),
        created_at: 1_759_235_696_000_000,
        version: 2,
        failure: None,
        refund: None,
    }
}

fn fake() -> Fake {
    let product = Product {
        sku: "SKU-123".into(),
        name: "Thing".into(),
        unit_price: 1299,
        currency: "USD".into(),
        available_stock: 7,
    };
    let creation = Creation {
        decision: Decision::Confirmed(order(State::Confirmed)),
        replayed: false,
        trace_id: FIRST_TRACE.into(),
    };
    Fake {
        create: RefCell::new(Ok(creation)),
        get: RefCell::new(Ok(order(State::Confirmed))),
        cancel: RefCell::new(Ok(Order {
            version: 3,
            refund: Some(("pending".into(), 2598)),
            ..order(State::Cancelled)
        })),
        product: RefCell::new(Ok((product, false))),
        webhook: RefCell::new(Ok(())),
        asked: RefCell::default(),
    }
}

fn request(method: &str, target: &str, body: &str) -> Request {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query.to_owned())));
    let headers = [
        ("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01")),
        ("x-token-issuer", "https://issuer.example".to_owned()),
        ("x-token-subject", "alice".to_owned()),
        ("x-token-scope", "orders:read orders:write inventory:write".to_owned()),
        ("x-token-email", "alice@example.org".to_owned()),
        ("content-type", "application/json".to_owned()),
    ];
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.into_bytes())).collect();
    Request { method: method.into(), path: path.into(), query, headers, body: body.as_bytes().to_vec() }
}

fn header(mut request: Request, name: &str, value: &str) -> Request {
    request.headers.push((name.to_owned(), value.as_bytes().to_vec()));
    request
}

fn without(mut request: Request, name: &str) -> Request {
    request.headers.retain(|(header, _)| header != name);
    request
}

fn send(fake: &Fake, request: &Request) -> Response {
    Gateway { orders: fake, catalog: fake, webhooks: fake }.handle(request)
}

fn text(response: &Response) -> String {
    String::from_utf8(response.body.clone()).unwrap()
}

fn problem(response: &Response) -> Value {
    assert_eq!(response.header("content-type"), Some("application/problem+json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(body["status"], response.status);
    body
}

fn golden(name: &str, response: &Response) {
    let body = problem(response);
    assert!(body["type"].as_str().unwrap().starts_with("/problems/"));
    let path =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/problems").join(format!("{name}.json"));
    let text = text(response) + "\n";
    if std::env::var_os("SWIFTCART_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "{name}");
}

#[test]
fn a_confirmed_order_is_201() {
    let fake = fake();
    let response = send(&fake, &header(request("POST", "/orders", BODY), "idempotency-key", "k1"));
    assert_eq!(response.status, 201);
    assert_eq!(response.header("location"), Some(&*format!("/orders/{ORDER}")));
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.header("idempotent-replayed"), None);
    assert_eq!(
        text(&response),
        format!(
            r#"{{"orderId":"{ORDER}","state":"CONFIRMED","items":[{{"sku":"SKU-123","qty":2,"unitPrice":1299}}],"totalAmount":2598,"currency":"USD","createdAt":"2025-09-30T12:34:56.000000Z"}}"#
        )
    );
    let asked = fake.asked.borrow().join("\n");
    assert!(asked.contains("1 Some(\"k1\")") || asked.contains("Some(\"k1\")"), "{asked}");
    assert!(asked.contains("email: Some(\"alice@example.org\")"), "{asked}");
    assert!(asked.contains(&swiftcart_domain::ids::user_id("https://issuer.example", "alice").to_string()), "{asked}");

    let first = response;
    fake.create.borrow_mut().as_mut().unwrap().replayed = true;
    let again = send(&fake, &request("POST", "/orders", BODY));
    assert_eq!((again.status, again.header("idempotent-replayed")), (201, Some("true")));
    assert_eq!(again.body, first.body);
}

#[test]
fn a_pending_order_is_202() {
    let fake = fake();
    fake.create.borrow_mut().as_mut().unwrap().decision = Decision::Pending(order(State::Pending));
    let response = send(&fake, &request("POST", "/orders", BODY));
    assert_eq!(response.status, 202);
    assert_eq!(response.header("location"), Some(&*format!("/orders/{ORDER}")));
    assert_eq!(response.header("retry-after"), Some("5"));
    assert!(text(&response).contains(r#""state":"PENDING""#));
}

#[test]
fn refusals_are_problems_with_the_first_trace_id() {
    let refuse = |refusal: Refusal, state_failure: Option<(&str, &str)>, replayed: bool| {
        let fake = fake();
        let failed = Order {
            failure: state_failure.map(|(code, message)| (code.into(), message.into())),
            ..order(State::Failed)
        };
        *fake.create.borrow_mut() =
            Ok(Creation { decision: Decision::Refused(failed, refusal), replayed, trace_id: FIRST_TRACE.into() });
        send(&fake, &request("POST", "/orders", BODY))
    };
    let declined =
        || Refusal::Declined { code: "insufficient_funds".into(), message: "Your card has insufficient funds.".into() };
    let first = refuse(declined(), None, false);
    golden("payment-declined", &first);
    assert_eq!((first.status, first.header("idempotent-replayed")), (402, None));
    let again = refuse(declined(), None, true);
    assert_eq!((&again.body, again.header("idempotent-replayed")), (&first.body, Some("true")));
    assert!(text(&first).contains(FIRST_TRACE));
    let short =
        refuse(Refusal::OutOfStock(vec![Shortage { sku: "SKU-123".into(), requested: 2, available: 1 }]), None, false);
    assert_eq!(short.status, 409);
    golden("out-of-stock", &short);
    let failed = refuse(
        Refusal::Failed,
        Some(("payment_unavailable", "The payment could not be made. Nothing was charged.")),
        false,
    );
    assert_eq!(failed.status, 409);
    golden("order-failed", &failed);
}

#[test]
fn errors_of_a_create_are_problems() {
    let create = |error: CreateError| {
        let fake = fake();
        *fake.create.borrow_mut() = Err(error);
        send(&fake, &request("POST", "/orders", BODY))
    };
    let cases = [
        (CreateError::UnknownSku(vec!["A".into(), "B".into()]), 422, "unknown-sku", None),
        (CreateError::CurrencyMismatch(vec!["A".into()]), 422, "currency-mismatch", None),
        (CreateError::AmountOutOfRange, 422, "amount-out-of-range", None),
        (CreateError::KeyReused, 422, "idempotency-key-reused", None),
        (CreateError::KeyInFlight(7), 409, "idempotency-key-in-flight", Some("7")),
        (CreateError::PaymentUnavailable(Some(ORDER.into())), 503, "payment-unavailable", Some("5")),
        (CreateError::PaymentUnavailable(None), 503, "payment-unavailable-unwritten", Some("5")),
        (CreateError::Unavailable(None), 503, "unavailable", Some("2")),
        (CreateError::Unavailable(Some(ORDER.into())), 503, "unavailable-with-order", Some("2")),
        (CreateError::Internal, 500, "internal", None),
    ];
    for (error, status, name, retry_after) in cases {
        let response = create(error);
        assert_eq!((response.status, response.header("retry-after")), (status, retry_after), "{name}");
        golden(name, &response);
    }
}

#[test]
fn shapes_are_strict() {
    let fake = fake();
    let line = |line: &str| format!(r#"{{"items":[{line}],"currency":"USD","payment":{{"method":"pm"}}}}"#);
    let many = vec![r#"{"sku":"A","qty":1}"#; 101].join(",");
    let cases = [
        ("".to_owned(), "the body: is empty"),
        ("{}".to_owned(), "/items: is missing"),
        ("[]".to_owned(), "the body: must be an object"),
        (BODY.replace("USD", "usd"), "/currency: must be three capital letters"),
        (BODY.replace("\"USD\"", "1"), "/currency: must be three capital letters"),
        (BODY.replace("pm_card_visa", ""), "/payment/method: must be"),
        (BODY.replace("\"currency\"", "\"price\":1,\"currency\""), "/price: is not known"),
        (BODY.replace("\"currency\"", "\"currency\":\"USD\",\"currency\""), "/currency: occurs more than once"),
        (BODY.to_owned() + "{}", "the body: is not JSON"),
        ("\u{feff}".to_owned() + BODY, "the body: starts with a byte order mark"),
        (line(""), "/items: must be an array of 1 to 100 items"),
        (line(&many), "/items: must be an array of 1 to 100 items"),
        (line(r#"{"sku":"A"}"#), "/items/0/qty: is missing"),
        (line(r#"{"sku":"A","qty":0}"#), "/items/0/qty: must be an integer from 1 to 1000"),
        (line(r#"{"sku":"A","qty":1001}"#), "/items/0/qty: must be"),
        (line(r#"{"sku":"A","qty":1.0}"#), "/items/0/qty: must be"),
        (line(r#"{"sku":"A","qty":"1"}"#), "/items/0/qty: must be"),
        (line(r#"{"sku":"A","qty":1,"unitPrice":1}"#), "/items/0/unitPrice: is not known"),
        (line(r#"{"sku":"A b","qty":1}"#), "/items/0/sku: must be a sku"),
        (line(r#"{"sku":"A","qty":1},{"sku":"A","qty":1}"#), "/items/1/sku: occurs in another line"),
    ];
    for (body, expected) in cases {
        let response = send(&fake, &request("POST", "/orders", &body));
        assert_eq!(response.status, 400, "{body}");
        let detail = problem(&response)["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with(expected), "{body}: {detail}");
    }
    assert!(fake.asked.borrow().is_empty(), "nothing malformed goes further");
    golden("invalid-request", &send(&fake, &request("POST", "/orders", &line(r#"{"sku":"A","qty":0}"#))));
}

#[test]
fn an_idempotency_key_is_short_and_visible_and_single() {
    let post = |keys: &[&[u8]]| {
        let mut request = request("POST", "/orders", BODY);
        request.headers.extend(keys.iter().map(|key| ("idempotency-key".to_owned(), key.to_vec())));
        send(&fake(), &request).status
    };
    assert_eq!(post(&[b"!~"]), 201);
    assert_eq!(post(&[&[b'x'; 255]]), 201);
    for bad in [&b""[..], &[b'x'; 256], b"a b", b"\xc3\xa4", b"a\tb"] {
        assert_eq!(post(&[bad]), 400, "{bad:?}");
    }
    assert_eq!(post(&[b"a", b"a"]), 400);
}

#[test]
fn who_may_call() {
    let anonymous =
        |method: &str, target: &str| send(&fake(), &without(request(method, target, BODY), "x-token-subject"));
    for (method, target) in [
        ("POST", "/orders"),
        ("GET", "/orders"),
        ("GET", "/orders/x"),
        ("POST", "/orders/x/cancel"),
        ("PUT", "/products/a"),
        ("POST", "/products/a/stock"),
    ] {
        let response = anonymous(method, target);
        assert_eq!((response.status, response.header("www-authenticate")), (401, Some("Bearer")), "{method} {target}");
    }
    golden("unauthorized", &anonymous("GET", "/orders"));
    for target in ["/products", "/products/a", "/openapi.json"] {
        assert_eq!(anonymous("GET", target).status, 200, "{target}");
    }
    let response = send(
        &fake(),
        &header(
            without(request("POST", "/orders", BODY), "x-token-scope"),
            "x-token-scope",
            "orders:read orders:writer",
        ),
    );
    assert_eq!(
        response.header("www-authenticate"),
        Some("Bearer error=\"insufficient_scope\", scope=\"orders:write\"")
    );
    golden("forbidden", &response);
}

#[test]
fn http_in_general() {
    let fake = fake();
    let get = |method: &str, target: &str| send(&fake, &request(method, target, ""));
    golden("not-found", &get("GET", "/nothing"));
    let response = get("DELETE", "/orders");
    assert_eq!(response.header("allow"), Some("POST, GET, HEAD"));
    golden("method-not-allowed", &response);
    golden("not-acceptable", &send(&fake, &header(request("GET", "/orders", ""), "accept", "text/html")));
    let response = send(&fake, &without(request("POST", "/orders", BODY), "content-type"));
    golden("unsupported-media-type", &response);
    for bad in [
        "limit=0",
        "limit=101",
        "limit=x",
        "limit=+1",
        "limit=",
        "limit=1&limit=1",
        "x=1&x=1",
        "state=paid",
        "cursor=%zz",
    ] {
        assert_eq!(get("GET", &format!("/orders?{bad}")).status, 400, "{bad}");
    }
    assert_eq!(get("GET", "/orders?limit=100&state=FAILED&cursor=a%2Db").status, 200);
    assert_eq!(get("GET", "/orders").status, 200);
    assert_eq!(*fake.asked.borrow(), ["Some(\"a-b\") Some(Failed) 100", "None None 20"]);
}

#[test]
fn an_order_has_an_entity_tag() {
    let fake = fake();
    let failed = Order {
        failure: Some(("out_of_stock_after_payment".into(), "Sold out.".into())),
        refund: Some(("pending".into(), 2598)),
        version: 3,
        ..order(State::Failed)
    };
    *fake.get.borrow_mut() = Ok(failed);
    let target = format!("/orders/{ORDER}");
    let response = send(&fake, &request("GET", &target, ""));
    assert_eq!((response.status, response.header("etag")), (200, Some("\"3\"")));
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(body["failure"], json!({"code": "out_of_stock_after_payment", "message": "Sold out."}));
    assert_eq!(body["refund"], json!({"state": "pending", "amount": 2598}));
    let same = send(&fake, &header(request("GET", &target, ""), "if-none-match", "\"3\""));
    assert_eq!((same.status, same.body.len(), same.header("etag")), (304, 0, Some("\"3\"")));
    let head = send(&fake, &request("HEAD", &target, ""));
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(send(&fake, &request("GET", "/orders/none", "")).status, 404);
    for (error, status) in [(QueryError::NotFound, 404), (QueryError::Unavailable, 503), (QueryError::Internal, 500)] {
        *fake.get.borrow_mut() = Err(error);
        assert_eq!(send(&fake, &request("GET", &target, "")).status, status);
    }
    *fake.get.borrow_mut() = Err(QueryError::BadCursor);
    assert_eq!(send(&fake, &request("GET", "/orders?cursor=x", "")).status, 400);
}

#[test]
fn the_contract_says_what_the_code_does() {
    let fake = fake();
    let response = send(&fake, &request("GET", "/openapi.json", ""));
    let document: Value = serde_json::from_slice(&response.body).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut described = 0;
    for (_, methods) in document["paths"].as_object().unwrap() {
        described += methods.as_object().unwrap().len();
    }
    assert_eq!(described, Route::ALL.len());
    for (_, method, path, scope, _) in Route::ALL {
        let operation = &document["paths"][path][method.to_lowercase()];
        let said = operation["security"][0]["accessToken"][0].as_str();
        assert!(operation.is_object() && said == *scope, "{method} {path}");
    }
    let types = document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"].as_array().unwrap();
    let kinds: Vec<Value> = Kind::ALL.iter().map(|kind| format!("/problems/{}", kind.name()).into()).collect();
    assert_eq!(*types, kinds);
    // Every reference leads somewhere.
    let text = text(&response);
    for reference in text.split("\"$ref\": \"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
    for kind in Kind::ALL {
        assert_eq!(send(&fake, &request("GET", &format!("/problems/{}", kind.name()), "")).status, 200);
    }
    assert_eq!(send(&fake, &request("GET", "/problems/none", "")).status, 404);
    let docs = send(&fake, &request("GET", "/docs", ""));
    let page = String::from_utf8(docs.body.clone()).unwrap();
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("<script"));
    assert!(page.contains("POST /orders") && page.contains("payment-declined"));
}
