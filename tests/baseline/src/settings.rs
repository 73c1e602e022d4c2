//! What the program is told. Invariant: everything comes from the environment, under the names that the host uses where it has them, and is checked
//! before anything connects; secrets have types that print nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;

use anyhow::Context as _;
use secrecy::SecretString;
use swiftcart_domain::seal::{PublicKey, SecretKey};

/// The four databases.
pub(crate) const DATABASES: [&str; 4] = ["orders", "payments", "inventory", "notifications"];

/// All settings.
pub(crate) struct Settings {
    pub(crate) address: SocketAddr,
    /// Sustained requests per second and user, and how many may come at once.
    pub(crate) requests_per_second: NonZeroU32,
    pub(crate) burst: NonZeroU32,
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) jwks_url: String,
    /// By name.
    pub(crate) database_urls: BTreeMap<&'static str, String>,
    pub(crate) redis_url: SecretString,
    pub(crate) kafka: String,
    pub(crate) smtp_url: String,
    pub(crate) mail_from: String,
    pub(crate) psp_base_url: String,
    pub(crate) psp_secret_key: SecretString,
    pub(crate) seal_public_key: PublicKey,
    pub(crate) seal_secret_key: SecretKey,
}

impl Settings {
    /// Reads the environment.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let url = |name: &'static str| {
            anyhow::Ok((name, required(&format!("SWIFTCART_{}_DATABASE_URL", name.to_uppercase()))?))
        };
        Ok(Self {
            address: required("SWIFTCART_EDGE_ADDRESS")?
                .parse()
                .context("SWIFTCART_EDGE_ADDRESS must be an address with a port")?,
            requests_per_second: number("SWIFTCART_EDGE_REQUESTS_PER_SECOND", 50)?,
            burst: number("SWIFTCART_EDGE_BURST", 100)?,
            issuer: required("SWIFTCART_EDGE_ISSUER")?,
            audience: required("SWIFTCART_EDGE_AUDIENCE")?,
            jwks_url: required("SWIFTCART_EDGE_JWKS_URL")?,
            database_urls: DATABASES.into_iter().map(url).collect::<anyhow::Result<_>>()?,
            redis_url: required("SWIFTCART_REDIS_URL")?.into(),
            kafka: required("SWIFTCART_KAFKA_BOOTSTRAP_SERVERS")?,
            smtp_url: required("SWIFTCART_SMTP_URL")?,
            mail_from: required("SWIFTCART_MAIL_FROM")?,
            psp_base_url: required("SWIFTCART_PSP_BASE_URL")?,
            psp_secret_key: required("SWIFTCART_PSP_SECRET_KEY")?.into(),
            seal_public_key: PublicKey::from_base64(&required("SWIFTCART_SEAL_MAIL_SEAL_PUBLIC_KEY")?)
                .context("SWIFTCART_SEAL_MAIL_SEAL_PUBLIC_KEY")?,
            seal_secret_key: SecretKey::from_base64(&required("SWIFTCART_MAIL_SEAL_SECRET_KEY")?)
                .context("SWIFTCART_MAIL_SEAL_SECRET_KEY")?,
        })
    }
}

/// A number that is not 0; unset means what the shop's edge takes then.
fn number(name: &str, unset: u32) -> anyhow::Result<NonZeroU32> {
    let number = match std::env::var(name) {
        Ok(text) => text.parse().ok().and_then(NonZeroU32::new),
        Err(_) => NonZeroU32::new(unset),
    };
    number.with_context(|| format!("{name} must be a number above 0"))
}

fn required(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("set {name}"))
}
