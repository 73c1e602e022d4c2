//! Where the systems are.

use std::collections::BTreeMap;

use anyhow::Context as _;
use swiftcart_support::shop::Addresses;

/// Addresses, passwords included; hence no `Debug`.
#[derive(Clone)]
pub struct Sources {
    /// PostgreSQL, by database: orders, payments, inventory, notifications.
    pub databases: BTreeMap<String, String>,
    /// Redis.
    pub redis_url: String,
    /// Kafka, `host:port` separated by commas.
    pub kafka_bootstrap_servers: String,
    /// The books of the PSP simulator; `None` where the PSP is another.
    pub psp_ledger_url: Option<String>,
    /// The inbox (maildev), if mails end up in one.
    pub mail_web_url: Option<String>,
}

impl Sources {
    /// Those of a shop that was started on this machine.
    #[must_use]
    pub fn of(addresses: &Addresses) -> Self {
        Self {
            databases: addresses.database_urls.clone(),
            redis_url: addresses.redis_url.clone(),
            kafka_bootstrap_servers: addresses.kafka_bootstrap_servers.clone(),
            psp_ledger_url: Some(format!("{}/_control/ledger", addresses.psp_base_url)),
            mail_web_url: addresses.mail_web_url.clone(),
        }
    }

    pub(crate) fn database(&self, name: &str) -> anyhow::Result<&str> {
        self.databases.get(name).map(String::as_str).with_context(|| format!("no address of the database {name}"))
    }
}
