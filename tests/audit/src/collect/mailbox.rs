//! The inbox, through maildev's own API. Invariant: mails of others are not ours to judge; ours carry the order's id in a header.

use anyhow::{Context as _, ensure};
use swiftcart_support::client::{self, http_client};

use crate::facts::Mail;

pub(super) async fn mails(url: &str) -> anyhow::Result<Vec<Mail>> {
    let answer = http_client().build()?.get(format!("{url}/api/email")).send().await?;
    ensure!(answer.status().is_success(), "{url} answers {}", answer.status());
    let mails: Vec<client::Mail> = serde_json::from_slice(&answer.bytes().await?).context("the list of mails")?;
    let ours = mails.iter().filter_map(|mail| {
        Some(Mail {
            order_id: mail.header("swiftcart-order-id")?.to_owned(),
            kind: mail.header("swiftcart-mail-kind")?.to_owned(),
            message_id: mail.header("message-id").unwrap_or_default().trim_matches(['<', '>']).to_owned(),
        })
    });
    Ok(ours.collect())
}
