//! Servers that run already and shall be used. Invariant: a server named here is never started, stopped or reconfigured by us; databases and
//! roles of our names are made on it.

/// What the environment names.
#[derive(Clone, Debug, Default)]
pub struct External {
    /// `DATABASE_URL`: a PostgreSQL account that may make databases and roles.
    pub database_url: Option<String>,
    /// `REDIS_URL`.
    pub redis_url: Option<String>,
    /// `KAFKA_BOOTSTRAP_SERVERS`.
    pub kafka_bootstrap_servers: Option<String>,
    /// `NATS_URL`.
    pub nats_url: Option<String>,
    /// `SMTP_URL`.
    pub smtp_url: Option<String>,
    /// `MAIL_WEB_URL`: the maildev inbox that belongs to `SMTP_URL`, for reading mails back.
    pub mail_web_url: Option<String>,
}

impl External {
    /// Reads the variables; an empty one counts as not set.
    #[must_use]
    pub fn from_environment() -> Self {
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            database_url: read("DATABASE_URL"),
            redis_url: read("REDIS_URL"),
            kafka_bootstrap_servers: read("KAFKA_BOOTSTRAP_SERVERS"),
            nats_url: read("NATS_URL"),
            smtp_url: read("SMTP_URL"),
            mail_web_url: read("MAIL_WEB_URL"),
        }
    }
}
