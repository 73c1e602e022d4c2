//! The books of the PSP simulator (`/_control/ledger`). Invariant: what has another shape than expected is an error, not an empty book.

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use swiftcart_support::client::http_client;

use crate::facts::{Charge, Ledger, Refund};

#[derive(Deserialize)]
struct Books {
    intents: Vec<Intent>,
    refunds: Vec<GivenBack>,
}

#[derive(Deserialize)]
struct Intent {
    id: String,
    status: String,
    amount: i64,
    currency: String,
    metadata: std::collections::BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct GivenBack {
    id: String,
    status: String,
    amount: i64,
    payment_intent: String,
}

pub(super) async fn ledger(url: &str) -> anyhow::Result<Ledger> {
    let answer = http_client().build()?.get(url).send().await.with_context(|| format!("asking {url}"))?;
    ensure!(answer.status().is_success(), "{url} answers {}", answer.status());
    let books: Books = serde_json::from_slice(&answer.bytes().await?).context("the PSP's books have another shape")?;
    let charges = books.intents.into_iter().filter(|intent| intent.status == "succeeded").map(|mut intent| Charge {
        payment_id: intent.id,
        order_id: intent.metadata.remove("order_id"),
        amount: intent.amount,
        currency: intent.currency.to_uppercase(),
    });
    let refunds = books.refunds.into_iter().filter(|refund| refund.status == "succeeded").map(|refund| Refund {
        refund_id: refund.id,
        payment_id: refund.payment_intent,
        amount: refund.amount,
    });
    Ok(Ledger { charges: charges.collect(), refunds: refunds.collect() })
}
