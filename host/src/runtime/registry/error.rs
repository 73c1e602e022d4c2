//! What can go wrong between a reference and its bytes. Invariant: "the registry is away" and "the registry says no" are never confused,
//! because only the first may be answered from the cache; no message holds a password.

use oci_client::errors::{OciDistributionError, OciErrorCode};

/// What a server says is cut here; some answer with whole pages.
const MAX_REASON_CHARS: usize = 300;

/// Why an artifact cannot be had from its registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The text names nothing in a registry.
    #[error("`{reference}` is no OCI reference: {reason}")]
    Reference {
        /// What was asked for.
        reference: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The tag `latest` is not allowed here.
    #[error(
        "`{0}`: the tag `latest` is not allowed on this host, because it may mean something else tomorrow; name a version or a digest"
    )]
    Latest(String),
    /// No answer, and nothing in the cache.
    #[error("`{reference}` cannot be pulled and is not in the cache: {reason}")]
    Away {
        /// What was asked for.
        reference: String,
        /// What happened.
        reason: String,
    },
    /// The registry has no such artifact.
    #[error("`{0}` is not in its registry")]
    NotFound(String),
    /// The registry wants other credentials.
    #[error(
        "`{0}`: the registry refuses the credentials, or wants some; give them to the host, or push them with `registry.put`"
    )]
    Unauthorized(String),
    /// The registry answers something that is of no use.
    #[error("`{reference}` cannot be used: {reason}")]
    Refused {
        /// What was asked for.
        reference: String,
        /// What it said.
        reason: String,
    },
    /// The bytes are others than those that were named.
    #[error("`{reference}`: expected {expected}, and the registry sent {actual}")]
    Digest {
        /// What was asked for.
        reference: String,
        /// The digest that named the bytes.
        expected: String,
        /// The digest of what came.
        actual: String,
    },
    /// The artifact is something else.
    #[error("`{reference}` is not {wanted}: the registry has {found}")]
    OtherKind {
        /// What was asked for.
        reference: String,
        /// What it should be.
        wanted: &'static str,
        /// What it is.
        found: String,
    },
    /// Larger than any artifact of its kind may be.
    #[error("`{reference}` has {size} bytes; the limit is {limit}")]
    TooLarge {
        /// What was asked for.
        reference: String,
        /// Its size in bytes.
        size: u64,
        /// The largest size allowed, in bytes.
        limit: u64,
    },
    /// A provider has to become a file.
    #[error("`{0}`: there is no cache folder to keep it in")]
    NoCache(String),
}

impl RegistryError {
    pub(super) fn refused(reference: &str, reason: impl Into<String>) -> Self {
        Self::Refused { reference: reference.to_owned(), reason: cut(reason.into()) }
    }
}

/// How a request ended, before it is known for whom it was made.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nobody answered, or only that they cannot now.
    Away(String),
    NotFound,
    Unauthorized,
    Refused(String),
}

impl Failure {
    pub(super) fn of(&self, reference: &str) -> RegistryError {
        let reference = reference.to_owned();
        match self {
            Self::Away(reason) => RegistryError::Away { reference, reason: reason.clone() },
            Self::NotFound => RegistryError::NotFound(reference),
            Self::Unauthorized => RegistryError::Unauthorized(reference),
            Self::Refused(reason) => RegistryError::Refused { reference, reason: reason.clone() },
        }
    }
}

impl From<OciDistributionError> for Failure {
    fn from(error: OciDistributionError) -> Self {
        use OciErrorCode::{
            BlobUnknown, Denied, ManifestUnknown, NameUnknown, NotFound, Toomanyrequests, Unauthorized,
        };
        let reason = cut(chain(&error));
        match &error {
            OciDistributionError::RequestError(_) | OciDistributionError::IoError(_) => Self::Away(reason),
            OciDistributionError::ServerError { code, .. } if *code >= 500 || *code == 429 => Self::Away(reason),
            OciDistributionError::ServerError { code: 404, .. }
            | OciDistributionError::ImageManifestNotFoundError(_) => Self::NotFound,
            OciDistributionError::ServerError { code: 403, .. }
            | OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => Self::Unauthorized,
            OciDistributionError::RegistryError { envelope, .. } => {
                let said = |codes: &[OciErrorCode]| envelope.errors.iter().any(|error| codes.contains(&error.code));
                if said(&[Toomanyrequests]) {
                    Self::Away(reason)
                } else if said(&[ManifestUnknown, NameUnknown, BlobUnknown, NotFound]) {
                    Self::NotFound
                } else if said(&[Unauthorized, Denied]) {
                    Self::Unauthorized
                } else {
                    Self::Refused(reason)
                }
            }
            _ => Self::Refused(reason),
        }
    }
}

/// An error with its causes: "error sending request" alone does not say that nobody listens.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut said: Vec<String> = Vec::new();
    for cause in causes.map(ToString::to_string) {
        if !said.iter().any(|before| before.contains(&cause)) {
            said.push(cause);
        }
    }
    said.join(": ")
}

fn cut(reason: String) -> String {
    match reason.char_indices().nth(MAX_REASON_CHARS) {
        Some((end, _)) => format!("{}...", reason.get(..end).unwrap_or_default()),
        None => reason,
    }
}
