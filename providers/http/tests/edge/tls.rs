//! Goal: TLS 1.3 at the edge with a real certificate, and a client that trusts only what it was told to trust.

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use rcgen::{CertificateParams, KeyPair};
use swiftcart_provider_http::{Client, ClientConfig, ClientError, Timeouts};
use tempfile::TempDir;

use crate::support::{PATIENCE, Shop, within};

const LONG: Timeouts = Timeouts { connect: PATIENCE, first_byte: PATIENCE, between_bytes: PATIENCE };

/// Writes a self-signed certificate and its key; gives their paths.
fn certificate(folder: &TempDir, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    let path = |end: &str| folder.path().join(format!("{name}.{end}")).to_str().unwrap().to_owned();
    std::fs::write(path("crt"), certificate.pem()).unwrap();
    std::fs::write(path("key"), key.serialize_pem()).unwrap();
    (path("crt"), path("key"))
}

#[tokio::test]
async fn tls_is_spoken_and_checked() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate_path, key_path) = certificate(&folder, "edge");
    let (stranger_path, _) = certificate(&folder, "stranger");
    let shop = Shop::open(|config| {
        config.tls_certificate_path = Some(certificate_path.clone());
        config.tls_key_path = Some(key_path);
    })
    .await;
    let port = shop.edge.address.port();
    let send = async |ca: &str, uri: String| {
        let config = ClientConfig {
            allowed_hosts: vec![format!("localhost:{port}")],
            ca_certificate_path: Some(ca.to_owned()),
            ..ClientConfig::default()
        };
        let request = Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
        within(Client::new(config).unwrap().send(request, LONG)).await
    };
    let response = send(&certificate_path, format!("https://localhost:{port}/public")).await.unwrap();
    assert_eq!(response.status(), 200);

    let error = send(&stranger_path, format!("https://localhost:{port}/public")).await.unwrap_err();
    assert!(matches!(error, ClientError::Tls(_)), "{error:?}");
    assert!(!error.may_have_been_sent());
    // Plain HTTP gets nothing out of it.
    assert!(send(&certificate_path, format!("http://localhost:{port}/public")).await.is_err());
    assert_eq!(shop.edge.handler.begun(), 1);
}

#[tokio::test]
async fn unusable_files_are_told_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate_path, key_path) = certificate(&folder, "one");
    let (_, other_key_path) = certificate(&folder, "two");
    for (certificate, key) in
        [("/nowhere".to_owned(), key_path.clone()), (certificate_path, other_key_path), (key_path.clone(), key_path)]
    {
        let mut config = crate::support::config("http://127.0.0.1:1/".into());
        config.tls_certificate_path = Some(certificate);
        config.tls_key_path = Some(key);
        let bound = swiftcart_provider_http::Server::bind(config, crate::support::TestHandler::new()).await;
        assert!(matches!(bound, Err(swiftcart_provider_http::Error::Tls(_))));
    }
}
