//! The two simulators of `swiftcart-sim`, each a process of its own. Invariant: the books of the PSP and the keys of the issuer are files in
//! the data folder, so a killed simulator comes back as it was.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Ready, Service, is_service};
use crate::place::Place;
use crate::process::{Launch, StopSignal};

/// Name of the variable that the PSP reads its key from.
const SECRET_KEY_VARIABLE: &str = "SWIFTCART_PSP_SECRET_KEY";
/// Name of the variable that the PSP reads its webhooks' secret from.
const WEBHOOK_SECRET_VARIABLE: &str = "SWIFTCART_PSP_WEBHOOK_SECRET";

/// The payment service provider.
#[derive(Debug)]
pub struct Psp {
    service: Service,
    port: u16,
    secret_key: String,
    webhook_secret: String,
}

is_service!(Psp);

impl Psp {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not get ready, with the end of the log.
    pub async fn start_in(place: &Place, program: &Path) -> anyhow::Result<Self> {
        let port = place.port("psp")?;
        let secret_key = format!("sk_test_{}", place.secret("psp")?);
        let webhook_secret = format!("whsec_{}", place.secret("psp-webhook")?);
        let journal = place.folder("psp")?.join("journal.jsonl");
        let mut arguments = vec![
            "psp".into(),
            "--address".into(),
            format!("127.0.0.1:{port}").into(),
            "--journal".into(),
            journal.into_os_string(),
        ];
        arguments.extend(["--secret-key-env".into(), SECRET_KEY_VARIABLE.into()]);
        arguments.extend(["--webhook-secret-env".into(), WEBHOOK_SECRET_VARIABLE.into()]);
        let environment = vec![
            (SECRET_KEY_VARIABLE.to_owned(), secret_key.clone()),
            (WEBHOOK_SECRET_VARIABLE.to_owned(), webhook_secret.clone()),
        ];
        let ready = Ready::Http { url: format!("http://127.0.0.1:{port}/_control/faults") };
        let service = simulator(place, "psp", program, arguments, environment, ready)?;
        let mut psp = Self { service, port, secret_key, webhook_secret };
        psp.start().await?;
        Ok(psp)
    }

    /// Where the API is.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The key that it wants to see.
    #[must_use]
    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// What it signs webhooks with.
    #[must_use]
    pub fn webhook_secret(&self) -> &str {
        &self.webhook_secret
    }
}

/// The token issuer.
#[derive(Debug)]
pub struct Issuer {
    service: Service,
    port: u16,
    keys: PathBuf,
}

is_service!(Issuer);

impl Issuer {
    /// The audience of its tokens.
    pub const AUDIENCE: &'static str = "swiftcart";

    /// Starts it.
    ///
    /// # Errors
    /// When it does not get ready, with the end of the log.
    pub async fn start_in(place: &Place, program: &Path) -> anyhow::Result<Self> {
        let port = place.port("issuer")?;
        let keys = place.folder("issuer-keys")?;
        let url = format!("http://127.0.0.1:{port}");
        let arguments = vec![
            "issuer".into(),
            "--address".into(),
            format!("127.0.0.1:{port}").into(),
            "--issuer".into(),
            url.clone().into(),
            "--audience".into(),
            Self::AUDIENCE.into(),
            "--keys".into(),
            keys.clone().into_os_string(),
        ];
        let ready = Ready::Http { url: format!("{url}/.well-known/jwks.json") };
        let mut issuer =
            Self { service: simulator(place, "issuer", program, arguments, Vec::new(), ready)?, port, keys };
        issuer.start().await?;
        Ok(issuer)
    }

    /// The `iss` of its tokens, also where it is reached.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Where its public keys are.
    #[must_use]
    pub fn jwks_url(&self) -> String {
        format!("{}/.well-known/jwks.json", self.url())
    }

    /// The folder of its keys, for minting without it.
    #[must_use]
    pub fn keys(&self) -> &Path {
        &self.keys
    }
}

fn simulator(
    place: &Place,
    name: &str,
    program: &Path,
    arguments: Vec<std::ffi::OsString>,
    environment: Vec<(String, String)>,
    ready: Ready,
) -> anyhow::Result<Service> {
    let launch = Launch {
        name: name.to_owned(),
        program: program.to_owned(),
        arguments,
        environment,
        folder: place.root().to_owned(),
        log: place.log(name)?,
        user: None,
        stop_signal: StopSignal::Terminate,
        lifetime: place.lifetime(),
    };
    Ok(Service::new(launch, ready, Duration::from_secs(30)))
}
