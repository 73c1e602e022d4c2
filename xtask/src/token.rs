//! `cargo xtask token`: an access token of the development issuer on standard output, and nothing else. Invariant: it is signed with
//! the keys of the shop that runs in the data folder, so that shop accepts it and no other does.

use anyhow::{Context, bail};
use swiftcart_support::client::Client;
use swiftcart_support::shop::State;

use crate::up::DataFolder;
use crate::workspace::Workspace;

/// Who a token is for.
pub(crate) struct Holder {
    pub(crate) subject: String,
    pub(crate) email: String,
    pub(crate) scope: String,
}

#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    data: DataFolder,
    /// Subject: who the token is for.
    #[arg(long, default_value = SUBJECT)]
    sub: String,
    /// Mail address of the subject; by default `<sub>@example.com`.
    #[arg(long)]
    email: Option<String>,
    /// Scopes, separated by spaces; stock is entered with `inventory:write`.
    #[arg(long, default_value = SCOPE)]
    scope: String,
    /// Seconds until it expires; negative for one that has expired.
    #[arg(long, default_value_t = 3600, allow_negative_numbers = true)]
    expires_in: i64,
}

const SUBJECT: &str = "development-buyer";
const SCOPE: &str = "orders:read orders:write";

impl Holder {
    /// The buyer of examples.
    pub(crate) fn buyer() -> Self {
        Self { subject: SUBJECT.to_owned(), email: format!("{SUBJECT}@example.com"), scope: SCOPE.to_owned() }
    }
}

/// `cargo xtask token`.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> anyhow::Result<()> {
    let data = arguments.data.path(workspace);
    let Some(state) = State::read(&data)? else {
        bail!("no shop runs in {}: start one with `cargo xtask up`", data.display());
    };
    let holder = Holder {
        subject: arguments.sub.clone(),
        email: arguments.email.clone().unwrap_or_else(|| format!("{}@example.com", arguments.sub)),
        scope: arguments.scope.clone(),
    };
    let client = Client::new(&state.addresses).context("reading the issuer's keys")?;
    println!("{}", mint(&client, &holder, arguments.expires_in)?);
    Ok(())
}

/// Signs a token.
pub(crate) fn mint(client: &Client, holder: &Holder, expires_in_seconds: i64) -> anyhow::Result<String> {
    let mut request = client.token_request(&holder.subject, &holder.scope);
    request.email = Some(holder.email.clone());
    request.expires_in_seconds = expires_in_seconds;
    client.mint(&request)
}
