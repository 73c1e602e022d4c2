//! Joining a lattice whose server asks who comes, and over TLS.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use secrecy::SecretString;
use sha2::Digest as _;

use super::*;

/// A claim in the form of NATS: a JSON Web Token signed with an nkey.
fn token(issuer: &KeyPair, subject: &KeyPair, nats: Value) -> String {
    let mut claims = json!({"iat": 1_700_000_000, "iss": issuer.public_key(), "name": "test", "sub": subject.public_key(), "nats": nats});
    let id = sha2::Sha256::digest(claims.to_string());
    claims["jti"] = json!(URL_SAFE_NO_PAD.encode(id));
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({"typ": "JWT", "alg": "ed25519-nkey"})), part(&claims));
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

/// The keys of one organisation that runs a server.
struct Operator {
    operator: KeyPair,
    account: KeyPair,
}

impl Operator {
    fn new() -> Self {
        Self { operator: KeyPair::new_operator(), account: KeyPair::new_account() }
    }

    /// An account that may store as much (-1: no limit). The server's own may store nothing.
    fn account(&self, account: &KeyPair, storage: i64) -> String {
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
            "mem_storage": storage, "disk_storage": storage, "streams": storage, "consumer": storage,
        });
        let nats =
            json!({"limits": limits, "default_permissions": {"pub": {}, "sub": {}}, "type": "account", "version": 2});
        token(&self.operator, account, nats)
    }

    /// A server that lets in who has a token of this organisation.
    fn settings(&self) -> String {
        let system = KeyPair::new_account();
        let operator = token(&self.operator, &self.operator, json!({"type": "operator", "version": 2}));
        format!(
            "operator: {operator}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n  {}: {}\n  {}: {}\n}}\n",
            system.public_key(),
            system.public_key(),
            self.account(&system, 0),
            self.account.public_key(),
            self.account(&self.account, -1),
        )
    }

    /// A user: token and seed.
    fn user(&self) -> (SecretString, SecretString) {
        let user = KeyPair::new_user();
        let nats = json!({"pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2});
        (token(&self.account, &user, nats).into(), user.seed().unwrap().into())
    }
}

/// A certificate for this machine: its file and its key's.
fn certificate(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    let path = |end: &str| folder.join(format!("{name}.{end}"));
    std::fs::write(path("crt"), certificate.pem()).unwrap();
    std::fs::write(path("key"), key.serialize_pem()).unwrap();
    (path("crt"), path("key"))
}

/// Joins with this login, is found there, and leaves.
async fn joins(login: NatsServer) {
    let config = LatticeConfig { control: login.clone(), calls: login, ..config("") };
    let host = Host::join_as(config).await;
    assert_eq!(host.inventory().await["host_id"], json!(host.id));
    host.accepted("config.put.colours", json!({"sky": "blue"})).await;
    host.stop.cancel();
    tokio::time::timeout(LONG, host.task).await.unwrap().unwrap().unwrap();
}

/// Why this login is refused; at once, because waiting does not mend it.
async fn refused(login: NatsServer) -> String {
    let config = LatticeConfig { control: login.clone(), calls: login, ..config("") };
    let opened = tokio::time::timeout(LONG, Connections::open(&config, "test")).await.expect("told at once");
    let error = opened.err().expect("it is let in").to_string();
    assert!(error.contains(&config.control.url), "{error}");
    error
}

/// Goal: a host joins with a token and its seed, as `wash up` passes them on, and hears in words that another organisation's are not welcome.
/// Method: a server of one operator; tokens of two; none; a seed that is none.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a NATS server; cargo xtask test contract runs it"]
async fn a_host_joins_with_a_signed_login() {
    let (operator, stranger) = (Operator::new(), Operator::new());
    let server = Server::with_settings(&operator.settings()).await;
    let login = |(jwt, seed): (SecretString, SecretString)| NatsServer {
        url: server.url.clone(),
        jwt: Some(jwt),
        seed: Some(seed),
        ..NatsServer::default()
    };
    joins(login(operator.user())).await;
    for wrong in [login(stranger.user()), NatsServer { url: server.url.clone(), ..NatsServer::default() }] {
        let error = refused(wrong).await;
        assert!(error.contains("authorization violation"), "{error}");
    }
    let (jwt, _) = operator.user();
    let error = refused(login((jwt, "SUNOSEED".into()))).await;
    assert!(error.contains("seed") && !error.contains("SUNOSEED"), "{error}");
}

/// Goal: a host joins with its key alone over TLS, and does not speak to a server whose certificate it has no reason to trust. Method: a self-signed
/// certificate, and another one in its place.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a NATS server; cargo xtask test contract runs it"]
async fn a_host_joins_over_tls() {
    // Two TLS back ends are linked, so the choice must be said; another test may have said it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (folder, user) = (tempfile::tempdir().unwrap(), KeyPair::new_user());
    let (trusted, key) = certificate(folder.path(), "server");
    let (other, _) = certificate(folder.path(), "other");
    let server = Server::with_settings(&format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\" }}\nauthorization {{ users: [ {{ nkey: {} }} ] }}\n",
        trusted.display(),
        key.display(),
        user.public_key()
    ))
    .await;
    let login = |ca: &Path, seed: &KeyPair| NatsServer {
        url: server.url.clone(),
        seed: Some(seed.seed().unwrap().into()),
        tls: true,
        tls_ca: Some(ca.to_owned()),
        ..NatsServer::default()
    };
    joins(login(&trusted, &user)).await;
    let error = refused(login(&trusted, &KeyPair::new_user())).await;
    assert!(error.contains("authorization violation"), "{error}");
    let error = refused(login(&other, &user)).await;
    assert!(error.contains("certificate"), "{error}");
}
