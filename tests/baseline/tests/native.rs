//! Goal: what the shop is compared with does the whole job: every order that it takes is charged, published, taken from stock and mailed once, and the
//! auditor finds nothing. Method: the program on real servers; answers, stock, inbox and the PSP are looked at, then the books of all systems.

#![allow(clippy::indexing_slicing, reason = "tests")]

#[path = "../../bench/src/variant/native.rs"]
mod native;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use swiftcart_audit::{Answer, Options, Sources, audit};
use swiftcart_support::client::{ALL_SCOPES, Client};
use swiftcart_support::eventually;
use swiftcart_support::shop::{Shop, ShopOptions};
use tokio::task::JoinSet;

use native::{Native, Store};

/// Longer than anything takes that an order sets off.
const SOON: Duration = Duration::from_secs(30);
/// Orders at the same time.
const CROWD: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_writing_does_the_whole_job() -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let sim = std::env::var_os("SWIFTCART_SIM_BINARY").map(PathBuf::from).context("SWIFTCART_SIM_BINARY is not set")?;
    let mut options = ShopOptions::new(data.path(), &sim);
    options.nats = false;
    let shop = Shop::start(options).await?;
    for store in [Store::Plain, Store::Coalesced] {
        let native = Native::start(&shop, Path::new(env!("CARGO_BIN_EXE_swiftcart-baseline")), store).await?;
        ensure!(native.pid() > 0 && native.address().starts_with("http://127.0.0.1:"), "{}", native.address());
        let done = whole_job(&native, store.name()).await.with_context(|| store.name());
        native.stop().await?;
        done?;
    }
    shop.stop().await
}

async fn whole_job(native: &Native, name: &str) -> anyhow::Result<()> {
    let client = Client::new(native.addresses())?;
    let mut answers = one_order(&client, name).await?;
    answers.extend(refusals(&client, name).await?);
    answers.extend(crowd(&client, name).await?);
    let options = Options { wait: Some(2 * SOON), answers, ..Options::default() };
    let report = audit(&Sources::of(native.addresses()), &options).await?;
    let found: Vec<String> =
        report.findings().map(|finding| format!("{}: {}: {}", finding.invariant, finding.id, finding.what)).collect();
    ensure!(found.is_empty(), "the auditor found {found:#?}");
    for row in &report.rows {
        ensure!(row.skipped.is_none(), "{} was not checked: {:?}", row.invariant, row.skipped);
    }
    ensure!(report.judged >= CROWD, "only {} orders were judged", report.judged);
    Ok(())
}

fn body(sku: &str, quantity: u32, method: &str) -> Value {
    json!({"items": [{"sku": sku, "qty": quantity}], "currency": "USD", "payment": {"method": method}})
}

/// One order by itself: answer, stock, mail, and the repeat of its request.
async fn one_order(client: &Client, name: &str) -> anyhow::Result<Vec<Answer>> {
    let (sku, key) = (format!("ONE-{name}"), format!("one-{name}"));
    client.stock_product(&sku, 1299, "USD", 10).await?;
    let token = client.token(&format!("single-buyer-{name}"), ALL_SCOPES)?;
    let first = client.post_order(&token, Some(&key), &body(&sku, 2, "pm_card_visa")).await?.expect_status(201)?;
    let told = first.json()?;
    ensure!(told["state"] == "CONFIRMED" && told["totalAmount"] == 2598, "{told}");
    ensure!(told["items"] == json!([{"sku": sku, "qty": 2, "unitPrice": 1299}]), "{told}");
    let order = told["orderId"].as_str().context("no order id")?.to_owned();
    ensure!(first.header("location") == Some(&format!("/orders/{order}")), "{:?}", first.header("location"));

    let again = client.post_order(&token, Some(&key), &body(&sku, 2, "pm_card_visa")).await?.expect_status(201)?;
    ensure!(again.body == first.body && again.header("idempotent-replayed") == Some("true"), "{}", again.text());
    client.post_order(&token, Some(&key), &body(&sku, 3, "pm_card_visa")).await?.expect_status(422)?;
    let shown = client.get_order(&token, &order).await?.expect_status(200)?;
    ensure!(shown.json()? == told, "{} is not {told}", shown.text());
    let stranger = client.token(&format!("stranger-{name}"), ALL_SCOPES)?;
    client.get_order(&stranger, &order).await?.expect_status(404)?;

    let product = client.get(&format!("/products/{sku}"), None).await?.expect_status(200)?.json()?;
    ensure!(product["availableStock"] == 8, "{product}");
    eventually(SOON, "the mail about the order", async || {
        let inbox = client.inbox().await?;
        let mail = inbox.iter().find(|mail| mail.header("swiftcart-order-id") == Some(&order)).context("none")?;
        ensure!(mail.to.iter().any(|to| to.address == format!("single-buyer-{name}@example.com")), "{:?}", mail.to);
        ensure!(mail.text.as_deref().unwrap_or_default().contains("USD 25.98"), "{:?}", mail.text);
        Ok(())
    })
    .await?;
    let ledger = client.psp_ledger().await?;
    ensure!(ledger["orders"][&order]["charges"] == 1, "{}", ledger["orders"][&order]);
    Ok(vec![Answer { status: 201, order_id: order, user: format!("single-buyer-{name}"), key }])
}

/// What is refused has its own answer, and no order is charged for it.
async fn refusals(client: &Client, name: &str) -> anyhow::Result<Vec<Answer>> {
    let sku = format!("FEW-{name}");
    client.stock_product(&sku, 500, "USD", 3).await?;
    let token = client.token(&format!("unlucky-buyer-{name}"), "orders:write")?;
    let key = format!("declined-{name}");
    let declined = client.post_order(&token, Some(&key), &body(&sku, 1, "pm_card_chargeDeclined")).await?;
    let problem = declined.expect_status(402)?.json()?;
    ensure!(problem["type"] == "/problems/payment-declined" && problem["declineCode"] == "card_declined", "{problem}");
    let again = client.post_order(&token, Some(&key), &body(&sku, 1, "pm_card_chargeDeclined")).await?;
    ensure!(again.expect_status(402)?.json()? == problem, "a repeat is not told the same");
    let short = client.post_order(&token, None, &body(&sku, 4, "pm_card_visa")).await?.expect_status(409)?.json()?;
    ensure!(short["shortages"] == json!([{"sku": sku, "requested": 4, "available": 3}]), "{short}");
    client.post_order(&token, None, &body("NO-SUCH", 1, "pm_card_visa")).await?.expect_status(422)?;
    client.post_order(&token, None, &body(&sku, 0, "pm_card_visa")).await?.expect_status(400)?;
    client.post_order("no-token", None, &body(&sku, 1, "pm_card_visa")).await?.expect_status(401)?;
    let reader = client.token(&format!("unlucky-buyer-{name}"), "orders:read")?;
    client.post_order(&reader, None, &body(&sku, 1, "pm_card_visa")).await?.expect_status(403)?;
    let product = client.get(&format!("/products/{sku}"), None).await?.expect_status(200)?.json()?;
    ensure!(product["availableStock"] == 3, "a refusal kept its reservation: {product}");
    Ok(Vec::new())
}

/// Many orders of the same two products at once, some of them twice with one key: one order per key.
async fn crowd(client: &Client, name: &str) -> anyhow::Result<Vec<Answer>> {
    let skus = [format!("MANY-1-{name}"), format!("MANY-2-{name}")];
    for sku in &skus {
        client.stock_product(sku, 250, "USD", 1_000).await?;
    }
    let lines = json!([{"sku": skus[0], "qty": 1}, {"sku": skus[1], "qty": 2}]);
    let body = json!({"items": lines, "currency": "USD", "payment": {"method": "pm_card_visa"}});
    let mut running = JoinSet::new();
    for number in 0..CROWD + CROWD / 4 {
        let user = format!("crowd-{name}-{}", number % CROWD);
        let (client, body, token) = (client.clone(), body.clone(), client.token(&user, "orders:write")?);
        running.spawn(async move {
            let key = format!("key-{user}");
            let answer = client.post_order(&token, Some(&key), &body).await?;
            let order_id = answer.json()?["orderId"].as_str().unwrap_or_default().to_owned();
            anyhow::Ok(Answer { status: answer.status, order_id, user, key })
        });
    }
    let mut answers = Vec::new();
    while let Some(answer) = running.join_next().await {
        let answer = answer??;
        // The other request with the key was faster and still runs.
        ensure!(matches!(answer.status, 201 | 409), "{answer:?}");
        answers.extend(Some(answer).filter(|answer| answer.status == 201));
    }
    let mut keys: Vec<&str> = answers.iter().map(|answer| answer.key.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    ensure!(keys.len() == CROWD, "{} of {CROWD} keys have an order", keys.len());
    let product = client.get(&format!("/products/{}", skus[1]), None).await?.expect_status(200)?.json()?;
    ensure!(product["availableStock"] == 1_000 - 2 * CROWD, "{product}");
    Ok(answers)
}
