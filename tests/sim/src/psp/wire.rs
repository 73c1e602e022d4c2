//! Stripe's wire forms: form-encoded parameters in, error objects out. Invariant: an unknown parameter is refused as Stripe refuses it,
//! so that a misspelt one shows here and not in production.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// An answer that is an error in Stripe's form.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// HTTP status.
    pub(super) status: StatusCode,
    /// The whole body, `{"error": {...}}`.
    pub(super) body: Value,
}

impl Failure {
    /// An error of a type (`invalid_request_error`, `api_error`, ...) with optional code and parameter name.
    #[must_use]
    pub(super) fn new(
        status: StatusCode,
        kind: &str,
        code: Option<&str>,
        param: Option<&str>,
        message: impl Into<String>,
    ) -> Self {
        let mut error = json!({"type": kind, "message": message.into()});
        if let Some(fields) = error.as_object_mut() {
            fields.extend(code.map(|code| ("code".to_owned(), json!(code))));
            fields.extend(param.map(|param| ("param".to_owned(), json!(param))));
        }
        Self { status, body: json!({ "error": error }) }
    }

    /// A 400 about one parameter.
    #[must_use]
    pub(super) fn parameter(code: &str, param: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_request_error", Some(code), Some(param), message)
    }

    /// A 404 about an object.
    #[must_use]
    pub(super) fn missing(what: &str, id: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "invalid_request_error",
            Some("resource_missing"),
            Some("id"),
            format!("No such {what}: '{id}'"),
        )
    }

    /// The 500 that Stripe gives when something broke inside.
    #[must_use]
    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "api_error",
            None,
            None,
            "An unknown error occurred (fault asked for).",
        )
    }

    /// The 503 of a PSP that did nothing at all.
    #[must_use]
    pub(super) fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "api_error",
            None,
            None,
            "The service is unavailable (fault asked for).",
        )
    }
}

/// Form-encoded parameters; nested names stay as they came (`metadata[order_id]`).
#[derive(Debug)]
pub(super) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Decodes a body or a query.
    ///
    /// # Errors
    /// When a parameter stands there twice.
    pub(super) fn parse(encoded: &[u8]) -> Result<Self, Failure> {
        let mut seen = BTreeSet::new();
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(encoded) {
            if !seen.insert(name.clone()) && !name.ends_with("[]") {
                return Err(Failure::parameter(
                    "parameter_invalid",
                    &name,
                    format!("Parameter {name} was given twice"),
                ));
            }
            parameters.insert(name.into_owned(), value.into_owned());
        }
        Ok(Self(parameters))
    }

    /// One value.
    #[must_use]
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// One value that must be there.
    ///
    /// # Errors
    /// When it is missing or empty.
    pub(super) fn required(&self, name: &str) -> Result<&str, Failure> {
        self.get(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| Failure::parameter("parameter_missing", name, format!("Missing required param: {name}.")))
    }

    /// A whole number.
    ///
    /// # Errors
    /// When it is there and is no whole number.
    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, Failure> {
        self.get(name)
            .map(|value| {
                value.parse().map_err(|_| {
                    Failure::parameter("parameter_invalid_integer", name, format!("Invalid integer: {value}"))
                })
            })
            .transpose()
    }

    /// The members of `metadata[...]`.
    #[must_use]
    pub(super) fn metadata(&self) -> BTreeMap<String, String> {
        self.0
            .iter()
            .filter_map(|(name, value)| {
                Some((name.strip_prefix("metadata[")?.strip_suffix(']')?.to_owned(), value.clone()))
            })
            .collect()
    }

    /// Refuses what is neither in `known` nor below one of them (`name[...]`).
    ///
    /// # Errors
    /// Stripe's `parameter_unknown`.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Failure> {
        for name in self.0.keys() {
            let top = name.split_once('[').map_or(name.as_str(), |(top, _)| top);
            if !known.contains(&top) {
                return Err(Failure::parameter(
                    "parameter_unknown",
                    name,
                    format!("Received unknown parameter: {name}"),
                ));
            }
        }
        Ok(())
    }

    /// Same parameters, same fingerprint, whatever their order on the wire.
    #[must_use]
    pub(super) fn fingerprint(&self, method_and_path: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(method_and_path.as_bytes());
        for (name, value) in &self.0 {
            for part in [name, value] {
                hash.update(part.len().to_le_bytes());
                hash.update(part.as_bytes());
            }
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
