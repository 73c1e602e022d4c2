//! The arguments of `swiftcart-host breaker`.

use clap::{Args, Subcommand};
use http::Uri;

/// Where the host is that runs, and what to do.
#[derive(Debug, Clone, Args)]
pub struct BreakerArguments {
    /// What to do.
    #[command(subcommand)]
    pub command: BreakerCommand,
    /// The admin port of the host.
    #[arg(long, env = "SWIFTCART_HOST_ADMIN_URL", global = true, value_name = "URL", default_value = "http://127.0.0.1:9464",
        value_parser = admin_url)]
    pub admin: Uri,
}

/// What to do with breakers.
#[derive(Debug, Clone, Subcommand)]
pub enum BreakerCommand {
    /// Lists all breakers with their states: one a line.
    List {
        /// Prints what the host says, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Holds a breaker open: no call passes, until `auto`.
    Open {
        /// As `list` shows it.
        id: String,
    },
    /// Holds a breaker closed: all calls pass, however they end, until `auto`.
    Close {
        /// As `list` shows it.
        id: String,
    },
    /// Lets a breaker judge by itself again; it begins closed.
    Auto {
        /// As `list` shows it.
        id: String,
    },
}

/// The admin port speaks HTTP without TLS, because it is for this machine only.
fn admin_url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("{error}"))?;
    let plain = url.scheme_str() == Some("http") && url.authority().is_some() && url.query().is_none();
    if plain && matches!(url.path(), "" | "/") { Ok(url) } else { Err("expected http://ADDRESS:PORT".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_addresses_are_admin_ports() {
        for good in ["http://127.0.0.1:9464", "http://localhost:1/"] {
            assert!(admin_url(good).is_ok(), "{good}");
        }
        for bad in ["127.0.0.1:9464", "https://x", "http://x/path", "http://x/?a", "http:///"] {
            assert!(admin_url(bad).is_err(), "{bad}");
        }
    }
}
