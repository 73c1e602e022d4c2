//! Goal: tokens of the development issuer verify with nothing but what it publishes, before and after a rotation.
//! Method: discovery, key set and token fetched over HTTP; verification by an independent library.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};
use swiftcart_sim::token::Claims;
use swiftcart_sim::{issuer::Issuer, keys, serve, token};

fn verify(set: &JwkSet, issuer: &str, token: &str) -> Claims {
    let header = decode_header(token).unwrap();
    assert_eq!(header.typ.as_deref(), Some("at+jwt"));
    let key = set.find(header.kid.as_deref().unwrap()).unwrap();
    let mut validation = Validation::new(header.alg);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&["shop"]);
    decode(token, &DecodingKey::from_jwk(key).unwrap(), &validation).unwrap().claims
}

#[tokio::test]
async fn tokens_verify_with_the_published_keys() {
    let folder = tempfile::tempdir().unwrap();
    let keys = keys::load_or_create(folder.path()).unwrap();
    let listener = serve::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let issuer = Issuer::new(base.clone(), "shop".into(), keys);
    tokio::spawn(serve::serve(listener, issuer.router(), std::future::pending()));
    // In one build with the host, reqwest has TLS without cryptography of its own.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = &reqwest::Client::builder().no_proxy().build().unwrap();
    let base = &base;

    let discovery: Value =
        client.get(format!("{base}/.well-known/openid-configuration")).send().await.unwrap().json().await.unwrap();
    assert_eq!(discovery["issuer"], base.as_str());
    let key_set = || async {
        client.get(discovery["jwks_uri"].as_str().unwrap()).send().await.unwrap().json::<JwkSet>().await.unwrap()
    };
    let grant = |body: Value| async move {
        client.post(format!("{base}/token")).json(&body).send().await.unwrap().json::<Value>().await.unwrap()
    };

    let mut tokens = Vec::new();
    for alg in ["ES256", "RS256"] {
        let answer =
            grant(json!({"sub": "anna", "email": "anna@example.com", "scope": "orders:read orders:write", "alg": alg}))
                .await;
        let token = answer["access_token"].as_str().unwrap().to_owned();
        let claims = verify(&key_set().await, base, &token);
        assert_eq!((claims.sub.as_str(), claims.email.as_deref()), ("anna", Some("anna@example.com")));
        assert_eq!(claims.exp - claims.iat, 3600);
        tokens.push(token);
    }
    let form = client
        .post(format!("{base}/token"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("sub=bo&scope=orders%3Aread&expires_in=60");
    let answer: Value = form.send().await.unwrap().json().await.unwrap();
    assert_eq!(verify(&key_set().await, base, answer["access_token"].as_str().unwrap()).scope, "orders:read");

    client.post(format!("{base}/_control/rotate")).send().await.unwrap().error_for_status().unwrap();
    let set = key_set().await;
    assert_eq!(set.keys.len(), 4);
    tokens.push(grant(json!({"sub": "anna"})).await["access_token"].as_str().unwrap().to_owned());
    assert_ne!(decode_header(&tokens[0]).unwrap().kid, decode_header(&tokens[2]).unwrap().kid);
    for token in &tokens {
        verify(&set, base, token);
    }

    // A tool that has the folder mints what the issuer would.
    let request = token::Request {
        issuer: base.clone(),
        audience: "shop".into(),
        subject: "tool".into(),
        scope: String::new(),
        email: None,
        expires_in_seconds: 60,
        algorithm: Algorithm::ES256,
    };
    let minted = token::mint(&keys::load_or_create(folder.path()).unwrap(), &request).unwrap();
    assert_eq!(verify(&set, base, &minted).sub, "tool");
    // The private halves never leave the folder.
    assert!(!serde_json::to_string(&set).unwrap().contains("\"d\""));
}

#[tokio::test]
async fn only_loopback_is_served() {
    assert!(serve::bind("0.0.0.0:0".parse().unwrap()).await.is_err());
}
