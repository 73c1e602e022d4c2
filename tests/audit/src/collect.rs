//! Reading everything. Invariant: nothing is written anywhere; orders are read first and looked at again last, so that what moved meanwhile is known
//! and not judged.

pub(crate) mod databases;
pub(crate) mod kafka;
mod mailbox;
mod psp;
mod stock;

use anyhow::Context as _;

use crate::facts::Facts;
use crate::sources::Sources;
use databases::Databases;

/// Reads all systems.
///
/// # Errors
/// When one cannot be read.
pub async fn collect(sources: &Sources) -> anyhow::Result<Facts> {
    let databases = Databases::open(sources).await?;
    let mut facts = Facts { taken_at: databases.now().await?, ..Facts::default() };
    facts.orders = databases.orders().await.context("reading the orders")?;
    facts.keys = databases.keys().await.context("reading the idempotency keys")?;
    facts.payments = databases.payments().await.context("reading the payments")?;
    facts.ledger = match &sources.psp_ledger_url {
        Some(url) => Some(psp::ledger(url).await.context("reading the PSP's books")?),
        None => None,
    };
    facts.movements = databases.movements().await.context("reading the stock movements")?;
    facts.stock = stock::stock(&databases, &sources.redis_url).await.context("comparing shelf and counters")?;
    facts.noted_mails = databases.mails().await.context("reading the rows about mails")?;
    facts.mailbox = match &sources.mail_web_url {
        Some(url) => Some(mailbox::mails(url).await.context("reading the inbox")?),
        None => None,
    };
    let topics = kafka::read(&sources.kafka_bootstrap_servers).await.context("reading the topics")?;
    facts.events = topics.events;
    facts.forgotten_before = topics.forgotten_before;
    facts.dead_letters = topics.dead_letters;
    facts.lags = kafka::lags(&sources.kafka_bootstrap_servers).await.context("asking for consumer groups")?.lags;
    facts.unpublished = databases.unpublished().await.context("reading the outboxes")?;
    for (id, order) in databases.orders().await.context("reading the orders again")? {
        if facts.orders.get(&id) != Some(&order) {
            facts.moving.insert(id.clone());
        }
        facts.known.insert(id);
    }
    Ok(facts)
}
