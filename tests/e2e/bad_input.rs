//! Bad input gets a precise answer, and the host goes on.

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::shop::{E2e, order_of, problem};

async fn post(
    e2e: &E2e,
    token: &str,
    path: &str,
    content_type: &str,
    body: Vec<u8>,
) -> anyhow::Result<swiftcart_support::client::Answer> {
    let request =
        e2e.client.request(reqwest::Method::POST, path, Some(token))?.header("content-type", content_type).body(body);
    swiftcart_support::client::send(request).await
}

/// Goal: every malformed or impossible order is refused with the status and name that the contract promises, and nothing is written.
/// Method: a table of bodies.
pub(crate) async fn a_bad_order_is_refused_precisely(e2e: &mut E2e) -> anyhow::Result<()> {
    let sku = e2e.product(1_000_000_000, 5_000).await?;
    let cheap = e2e.product(10, 5_000).await?;
    let token = e2e.buyer()?;
    let with = |items: &str| format!(r#"{{"items":{items},"currency":"USD","payment":{{"method":"pm_card_visa"}}}}"#);
    let line = |sku: &str, qty: &str| format!(r#"{{"sku":"{sku}","qty":{qty}}}"#);
    let one = format!("[{}]", line(&sku, "1"));
    let many = format!("[{}]", (0..101).map(|n| line(&format!("S{n}"), "1")).collect::<Vec<_>>().join(","));
    let cases: Vec<(&str, String, u16, &str)> = vec![
        ("no JSON", "{".to_owned(), 400, "invalid-request"),
        ("trailing data", with(&one) + "x", 400, "invalid-request"),
        ("byte order mark", format!("\u{feff}{}", with(&one)), 400, "invalid-request"),
        ("an array", "[]".to_owned(), 400, "invalid-request"),
        ("unknown field", with(&one).replace("\"currency\"", "\"price\":1,\"currency\""), 400, "invalid-request"),
        (
            "repeated member",
            with(&one).replace("\"currency\"", "\"currency\":\"EUR\",\"currency\""),
            400,
            "invalid-request",
        ),
        ("no lines", with("[]"), 400, "invalid-request"),
        ("too many lines", with(&many), 400, "invalid-request"),
        ("qty 0", with(&format!("[{}]", line(&sku, "0"))), 400, "invalid-request"),
        ("qty 1001", with(&format!("[{}]", line(&sku, "1001"))), 400, "invalid-request"),
        ("qty a fraction", with(&format!("[{}]", line(&sku, "1.5"))), 400, "invalid-request"),
        ("qty a text", with(&format!("[{}]", line(&sku, "\"1\""))), 400, "invalid-request"),
        ("qty overflowing", with(&format!("[{}]", line(&sku, "99999999999999999999"))), 400, "invalid-request"),
        ("sku twice", with(&format!("[{0},{0}]", line(&sku, "1"))), 400, "invalid-request"),
        ("bad sku", with(&format!("[{}]", line("a b", "1"))), 400, "invalid-request"),
        ("bad currency", with(&one).replace("USD", "usd"), 400, "invalid-request"),
        ("unknown sku", with(&format!("[{}]", line("none-such", "1"))), 422, "unknown-sku"),
        ("other currency", with(&one).replace("USD", "EUR"), 422, "currency-mismatch"),
        ("amount too large", with(&format!("[{}]", line(&sku, "1000"))), 422, "amount-out-of-range"),
        ("amount too small", with(&format!("[{}]", line(&cheap, "1"))), 422, "amount-out-of-range"),
        ("not UTF-8", String::new(), 400, "invalid-request"),
    ];
    for (name, body, status, problem_name) in cases {
        let bytes = if name == "not UTF-8" { vec![b'"', 0xff, b'"'] } else { body.into_bytes() };
        let answer = post(e2e, &token, "/orders", "application/json", bytes).await?;
        let told = problem(&answer, status, problem_name).with_context(|| name.to_owned())?;
        ensure!(told["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{name}: no detail in {told}");
    }
    problem(
        &post(e2e, &token, "/orders", "text/plain", with(&one).into_bytes()).await?,
        415,
        "unsupported-media-type",
    )?;
    problem(&post(e2e, &token, "/orders", "application/json", vec![b' '; 70_000]).await?, 413, "payload-too-large")?;
    let written: i64 = sqlx::query_scalar("SELECT count(*) FROM order_lines WHERE sku = ANY($1)")
        .bind(vec![sku.clone(), cheap])
        .fetch_one(&e2e.orders)
        .await?;
    ensure!(written == 0, "{written} lines were written");
    let not_allowed = e2e.client.request(reqwest::Method::DELETE, "/orders", Some(&token))?;
    let answer = swiftcart_support::client::send(not_allowed).await?;
    problem(&answer, 405, "method-not-allowed")?;
    ensure!(answer.header("allow").is_some_and(|allow| allow.contains("POST")), "no Allow");
    problem(&e2e.client.get("/none-such", Some(&token)).await?, 404, "not-found")?;
    Ok(())
}

/// Goal: the same for products and stock. Method: a table.
pub(crate) async fn a_bad_product_is_refused_precisely(e2e: &mut E2e) -> anyhow::Result<()> {
    let keeper = e2e.client.token("keeper", "inventory:write")?;
    let sku = e2e.product(100, 1).await?;
    for (name, body) in [
        ("price 0", r#"{"name":"a","unitPrice":0,"currency":"USD"}"#),
        ("price too high", r#"{"name":"a","unitPrice":1000000001,"currency":"USD"}"#),
        ("no name", r#"{"name":"","unitPrice":1,"currency":"USD"}"#),
        ("bad currency", r#"{"name":"a","unitPrice":1,"currency":"US"}"#),
        ("unknown field", r#"{"name":"a","unitPrice":1,"currency":"USD","stock":1}"#),
    ] {
        let request = e2e
            .client
            .request(reqwest::Method::PUT, &format!("/products/{sku}"), Some(&keeper))?
            .header("content-type", "application/json")
            .body(body);
        problem(&swiftcart_support::client::send(request).await?, 400, "invalid-request")
            .with_context(|| name.to_owned())?;
    }
    for (name, body) in [
        ("delta 0", r#"{"delta":0,"reason":"restock"}"#),
        ("negative restock", r#"{"delta":-1,"reason":"restock"}"#),
        ("other reason", r#"{"delta":1,"reason":"found"}"#),
        ("delta overflowing", r#"{"delta":9223372036854775808,"reason":"restock"}"#),
    ] {
        let answer =
            post(e2e, &keeper, &format!("/products/{sku}/stock"), "application/json", body.as_bytes().to_vec()).await?;
        problem(&answer, 400, "invalid-request").with_context(|| name.to_owned())?;
    }
    let unknown = e2e.client.post_stock(&keeper, "none-such", None, 1, "restock").await?;
    problem(&unknown, 404, "not-found")?;
    Ok(())
}

/// Goal: bytes that are no HTTP, a request that never ends, and one that is cut off hurt nobody else. Method: raw sockets, then an order.
pub(crate) async fn broken_http_does_not_hurt(e2e: &mut E2e) -> anyhow::Result<()> {
    let address = e2e.shop.addresses().edge_url.clone().context("no edge")?.replace("http://", "");
    let token = e2e.buyer()?;
    let mut garbage = tokio::net::TcpStream::connect(&address).await?;
    garbage.write_all(b"\x16\x03\x01\x02\x00 garbage\r\n\r\n").await?;
    let mut answer = Vec::new();
    // A bare 400 or a close are both fine.
    let _ = garbage.read_to_end(&mut answer).await;
    ensure!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
    let mut cut = tokio::net::TcpStream::connect(&address).await?;
    cut.write_all(format!("POST /orders HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{").as_bytes()).await?;
    drop(cut);
    let mut slow = tokio::net::TcpStream::connect(&address).await?;
    slow.write_all(format!("POST /orders HTTP/1.1\r\nhost: shop\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{").as_bytes()).await?;
    let mut told = vec![0; 12];
    slow.read_exact(&mut told).await?;
    ensure!(told == b"HTTP/1.1 408", "{}", String::from_utf8_lossy(&told));
    let sku = e2e.product(100, 1).await?;
    e2e.client.post_order(&token, None, &order_of(&sku, 1, "pm_card_visa")).await?.expect_status(201)?;
    let panics = e2e.client.admin("/readyz").await?;
    ensure!(panics.status == 200, "not ready any more: {}", panics.text());
    Ok(())
}
