//! TLS with rustls on aws-lc. Invariant: the edge speaks TLS 1.3 only; nothing here turns a certificate check off.

use std::sync::Arc;

use rustls::{
    RootCertStore,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

use crate::{config::ServerConfig, error::Error};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn certificates(path: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(chain) if chain.is_empty() => Err(Error::Tls(format!("{path} has no certificate"))),
        Ok(chain) => Ok(chain),
        Err(error) => Err(Error::Tls(format!("reading {path}: {error}"))),
    }
}

/// `None` when no certificate is configured.
pub(crate) fn acceptor(config: &ServerConfig) -> Result<Option<TlsAcceptor>, Error> {
    let (Some(certificate_path), Some(key_path)) = (&config.tls_certificate_path, &config.tls_key_path) else {
        return Ok(None);
    };
    let key =
        PrivateKeyDer::from_pem_file(key_path).map_err(|error| Error::Tls(format!("reading {key_path}: {error}")))?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Error::Tls(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(certificates(certificate_path)?, key)
        .map_err(|error| Error::Tls(format!("{certificate_path} and {key_path}: {error}")))?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(tls))))
}

/// The trust of outgoing connections: one file of authorities, or the system's store.
pub(crate) fn client(ca_certificate_path: Option<&str>) -> Result<rustls::ClientConfig, Error> {
    let roots = match ca_certificate_path {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| Error::Tls(format!("{path}: {error}")))?;
            }
            roots
        }
        None => return native(),
    };
    Ok(with_provider()?.with_root_certificates(roots).with_no_client_auth())
}

fn with_provider() -> Result<rustls::ConfigBuilder<rustls::ClientConfig, rustls::WantsVerifier>, Error> {
    rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Tls(error.to_string()))
}

/// A machine without any authority can still speak plain HTTP; its https requests fail, each with a TLS error.
fn native() -> Result<rustls::ClientConfig, Error> {
    use hyper_rustls::ConfigBuilderExt;
    match with_provider()?.with_native_roots() {
        Ok(builder) => Ok(builder.with_no_client_auth()),
        Err(error) => {
            tracing::warn!(error = %error, "the system has no certificate authorities; https will not work");
            Ok(with_provider()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
        }
    }
}
