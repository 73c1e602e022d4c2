//! Artifacts from OCI registries. Invariants: no byte is handed on that does not have the digest by which it was named; a digest in a
//! reference is what is used, or nothing; plain HTTP and `latest` only where they were allowed; a registry that is away does not stop what
//! was pulled before, one that says no does.

mod error;
mod name;
mod store;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::manifest::{OciDescriptor, OciManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use secrecy::{ExposeSecret, SecretString};

pub use error::RegistryError;

use crate::limits;
use error::Failure;
use store::Store;

const PROVIDER_LAYER: &str = "application/vnd.wasmcloud.provider.archive.layer.v1+par";
/// Older programs push everything as this.
const PLAIN_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const COMPONENT_LAYERS: [&str; 3] =
    ["application/wasm", "application/vnd.module.wasm.content.layer.v1+wasm", PLAIN_LAYER];
const PROVIDER_LAYERS: [&str; 2] = [PROVIDER_LAYER, PLAIN_LAYER];

/// How to log in to one registry.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// Name and password, also for the token service that the registry names.
    Basic {
        /// The user's name.
        username: String,
        /// The user's password.
        password: SecretString,
    },
    /// A token, sent as it is.
    Token(SecretString),
}

impl Credentials {
    /// Credentials as the lattice spells them: a token, or a name and a password; `None` if neither is whole.
    #[must_use]
    pub fn from_parts(username: Option<String>, password: Option<String>, token: Option<String>) -> Option<Self> {
        match (username, password, token) {
            (Some(username), Some(password), _) => Some(Self::Basic { username, password: password.into() }),
            (_, _, Some(token)) => Some(Self::Token(token.into())),
            _ => None,
        }
    }

    fn auth(&self) -> RegistryAuth {
        match self {
            Self::Basic { username, password } => {
                RegistryAuth::Basic(username.clone(), password.expose_secret().to_owned())
            }
            Self::Token(token) => RegistryAuth::Bearer(token.expose_secret().to_owned()),
        }
    }
}

/// What registries are trusted with.
#[derive(Clone, Debug, Default)]
pub struct RegistryOptions {
    /// Whether the tag `latest` may be pulled: what it means changes under one's feet.
    pub allow_latest: bool,
    /// Registries (`host` or `host:port`) that are spoken to in plain HTTP.
    pub insecure: Vec<String>,
    /// How to log in, by registry.
    pub credentials: BTreeMap<String, Credentials>,
}

/// A component as it was pulled.
#[derive(Debug)]
pub struct Pulled {
    /// The component's bytes.
    pub bytes: Vec<u8>,
    /// Digest of the manifest that named them, `sha256:<hex>`: what `name@...` pins.
    pub manifest: String,
}

/// What is looked for in a manifest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Component,
    Provider,
}

impl Kind {
    fn layers(self) -> &'static [&'static str] {
        match self {
            Self::Component => &COMPONENT_LAYERS,
            Self::Provider => &PROVIDER_LAYERS,
        }
    }

    fn limit(self) -> u64 {
        match self {
            Self::Component => limits::MAX_ARTIFACT_BYTES,
            Self::Provider => limits::MAX_PULLED_PROVIDER_BYTES,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Component => "a component",
            Self::Provider => "a provider archive",
        }
    }
}

/// Pulls and keeps.
pub struct Registry {
    options: RegistryOptions,
    session: Mutex<Session>,
    store: Option<Arc<Store>>,
}

/// A client remembers the first credentials of a registry for good, so new ones need a new client.
struct Session {
    client: Client,
    credentials: BTreeMap<String, Credentials>,
}

impl Registry {
    /// `cache: None` pulls components every time and no providers, which have to be files.
    #[must_use]
    pub fn new(options: RegistryOptions, cache: Option<&Path>) -> Self {
        let store = cache.and_then(|folder| {
            let opened = Store::open(folder);
            opened
                .inspect_err(
                    |reason| tracing::warn!(folder = %folder.display(), reason, "pulled artifacts are not cached"),
                )
                .ok()
        });
        let options =
            RegistryOptions { insecure: options.insecure.iter().map(|host| plain(host)).collect(), ..options };
        let credentials = options.credentials.iter().map(|(host, known)| (plain(host), known.clone())).collect();
        let session = Mutex::new(Session { client: client(&options.insecure), credentials });
        Self { options, session, store: store.map(Arc::new) }
    }

    /// Logs in to a registry with these credentials from now on.
    pub fn set_credentials(&self, host: &str, credentials: Credentials) {
        let fresh = client(&self.options.insecure);
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        session.client = fresh;
        session.credentials.insert(plain(host), credentials);
    }

    /// Pulls a component. A tag is resolved anew each time; bytes that are on disk already are not pulled again.
    ///
    /// # Errors
    /// [`RegistryError`], naming the reference.
    pub async fn pull(&self, reference: &str) -> Result<Pulled, RegistryError> {
        let pull = async {
            let (image, manifest, layer) = self.resolve(reference, Kind::Component).await?;
            let bytes = self.layer(reference, &image, &layer, Kind::Component).await?;
            Ok(Pulled { bytes, manifest })
        };
        within(reference, pull).await
    }

    /// Pulls a provider archive. The file belongs to the cache: read it at once, and do not change it.
    ///
    /// # Errors
    /// [`RegistryError`], naming the reference.
    pub async fn pull_provider(&self, reference: &str) -> Result<PathBuf, RegistryError> {
        let store = self.store.as_ref().ok_or_else(|| RegistryError::NoCache(reference.to_owned()))?;
        let pull = async {
            let (image, _, layer) = self.resolve(reference, Kind::Provider).await?;
            self.layer(reference, &image, &layer, Kind::Provider).await?;
            // Bytes that could not be kept are no file; the log says why.
            store.path(&layer.digest).ok_or_else(|| RegistryError::NoCache(reference.to_owned()))
        };
        within(reference, pull).await
    }

    /// From a reference to the one layer that holds what is wanted, and the digest of the manifest that says so.
    async fn resolve(&self, reference: &str, kind: Kind) -> Result<(Reference, String, OciDescriptor), RegistryError> {
        let image = name::parse(reference)?;
        if image.digest().is_none() && image.tag() == Some("latest") && !self.options.allow_latest {
            return Err(RegistryError::Latest(reference.to_owned()));
        }
        let (bytes, digest) = match image.digest() {
            Some(digest) => (self.pinned(reference, &image, digest).await?, digest.to_owned()),
            None => self.tagged(reference, &image).await?,
        };
        let manifest = serde_json::from_slice(&bytes)
            .map_err(|error| RegistryError::refused(reference, format!("its manifest cannot be read: {error}")))?;
        let layer = choose(reference, manifest, kind)?;
        Ok((image.clone_with_digest(digest.clone()), digest, layer))
    }

    /// The manifest of this digest; the registry is not asked for what is here.
    async fn pinned(&self, reference: &str, image: &Reference, digest: &str) -> Result<Vec<u8>, RegistryError> {
        if let Some(bytes) = self.kept(digest).await {
            return Ok(bytes);
        }
        let (client, auth) = self.session(image);
        let bytes = wire::manifest(&client, image, &auth).await.map_err(|failure| failure.of(reference))?;
        let actual = self.keep(bytes.clone()).await;
        same(reference, digest, actual)?;
        Ok(bytes)
    }

    /// The manifest that the tag names now, or the one it named last if the registry is away.
    async fn tagged(&self, reference: &str, image: &Reference) -> Result<(Vec<u8>, String), RegistryError> {
        let (client, auth) = self.session(image);
        let away = match wire::manifest(&client, image, &auth).await {
            Ok(bytes) => {
                let digest = self.keep(bytes.clone()).await;
                self.remember(image, &digest).await;
                return Ok((bytes, digest));
            }
            Err(failure @ Failure::Away(_)) => failure,
            Err(failure) => return Err(failure.of(reference)),
        };
        let remembered = match &self.store {
            Some(store) => store.tag(image).await,
            None => None,
        };
        let Some(digest) = remembered else { return Err(away.of(reference)) };
        let Some(bytes) = self.kept(&digest).await else { return Err(away.of(reference)) };
        tracing::warn!(reference, %digest, reason = %away.of(reference), "the registry is away; using what the tag meant when it was last there");
        Ok((bytes, digest))
    }

    /// The bytes of a layer, from disk if they are there.
    async fn layer(
        &self,
        reference: &str,
        image: &Reference,
        layer: &OciDescriptor,
        kind: Kind,
    ) -> Result<Vec<u8>, RegistryError> {
        let size = u64::try_from(layer.size).unwrap_or(u64::MAX);
        if size > kind.limit() {
            return Err(RegistryError::TooLarge { reference: reference.to_owned(), size, limit: kind.limit() });
        }
        if let Some(bytes) = self.kept(&layer.digest).await {
            return Ok(bytes);
        }
        let (client, auth) = self.session(image);
        let began = std::time::Instant::now();
        let bytes = wire::blob(&client, image, &auth, layer, size).await.map_err(|failure| failure.of(reference))?;
        let actual = self.keep(bytes.clone()).await;
        same(reference, &layer.digest, actual)?;
        tracing::info!(reference, digest = %layer.digest, bytes = bytes.len(), took_ms = began.elapsed().as_millis(), "pulled");
        Ok(bytes)
    }

    fn session(&self, image: &Reference) -> (Client, RegistryAuth) {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let auth = session.credentials.get(image.registry()).map_or(RegistryAuth::Anonymous, Credentials::auth);
        (session.client.clone(), auth)
    }

    async fn kept(&self, digest: &str) -> Option<Vec<u8>> {
        match &self.store {
            Some(store) => store.blob(digest).await,
            None => None,
        }
    }

    /// Keeps bytes under their own digest and returns it.
    async fn keep(&self, bytes: Vec<u8>) -> String {
        match &self.store {
            Some(store) => store.keep(bytes).await,
            None => store::digest(bytes).await,
        }
    }

    async fn remember(&self, image: &Reference, digest: &str) {
        if let Some(store) = &self.store
            && let Some(before) = store.remember(image, digest).await
        {
            tracing::info!(%image, %before, now = %digest, "the tag names another artifact than before");
        }
    }
}

/// The one layer of the right type.
fn choose(reference: &str, manifest: OciManifest, kind: Kind) -> Result<OciDescriptor, RegistryError> {
    let OciManifest::Image(manifest) = manifest else {
        let why = "it names an index of several images; push one artifact, or name one by its digest";
        return Err(RegistryError::refused(reference, why));
    };
    let found: Vec<String> = manifest.layers.iter().map(|layer| layer.media_type.clone()).collect();
    let mut fitting = manifest.layers.into_iter().filter(|layer| kind.layers().contains(&layer.media_type.as_str()));
    match (fitting.next(), fitting.next()) {
        // A layer may name other places to load it from; only the registry that was named is asked.
        (Some(layer), None) => Ok(OciDescriptor { urls: None, ..layer }),
        (None, _) if kind == Kind::Component && found.iter().any(|found| found == PROVIDER_LAYER) => {
            Err(RegistryError::OtherKind {
                reference: reference.to_owned(),
                wanted: kind.words(),
                found: "a provider archive".to_owned(),
            })
        }
        _ => Err(RegistryError::OtherKind {
            reference: reference.to_owned(),
            wanted: kind.words(),
            found: if found.is_empty() { "nothing".to_owned() } else { format!("layers of type {}", found.join(", ")) },
        }),
    }
}

fn same(reference: &str, expected: &str, actual: String) -> Result<(), RegistryError> {
    if expected == actual {
        return Ok(());
    }
    Err(RegistryError::Digest { reference: reference.to_owned(), expected: expected.to_owned(), actual })
}

async fn within<T>(reference: &str, pull: impl Future<Output = Result<T, RegistryError>>) -> Result<T, RegistryError> {
    let limit = limits::REGISTRY_PULL;
    tokio::time::timeout(limit, pull)
        .await
        .unwrap_or_else(|_| Err(Failure::Away(format!("it takes longer than {limit:?}")).of(reference)))
}

/// A registry's name without what people put round it.
fn plain(host: &str) -> String {
    let host = host.trim().to_ascii_lowercase();
    let host = ["https://", "http://", "oci://"].iter().find_map(|scheme| host.strip_prefix(scheme)).unwrap_or(&host);
    host.trim_end_matches('/').to_owned()
}

fn client(insecure: &[String]) -> Client {
    // Building a client for HTTPS panics without a process-wide provider of cryptography; `main` installs the same one, a test may not have.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Another thread was faster: then there is one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
    Client::new(ClientConfig {
        protocol: ClientProtocol::HttpsExcept(insecure.to_vec()),
        connect_timeout: Some(limits::REGISTRY_CONNECT),
        read_timeout: Some(limits::REGISTRY_SILENCE),
        user_agent: concat!("swiftcart-host/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    })
}
