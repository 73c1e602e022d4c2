//! Goal: whatever a registry answers, no wrong byte is handed on, and "away" is told from "no". Method: a registry that lies as each case
//! wants, in plain HTTP on a port of its own; the real one is in `host/tests/registry.rs`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;

/// Answers by path; whatever is not there is 404.
type Answers = Arc<Mutex<HashMap<String, (u16, Vec<u8>)>>>;

struct Fake {
    host: String,
    answers: Answers,
    asked: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Fake {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (answers, asked) = (Answers::default(), Arc::<Mutex<Vec<String>>>::default());
        let (known, heard) = (answers.clone(), asked.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream, &known, &heard).await;
            }
        });
        Self { host, answers, asked, _serving: serving }
    }

    fn put(&self, path: String, status: u16, body: &[u8]) {
        self.answers.lock().unwrap().insert(path, (status, body.to_vec()));
    }

    /// An artifact with one layer under a tag and under its digest, which is returned.
    fn push(&self, tag: &str, media_type: &str, bytes: &[u8]) -> String {
        self.put(format!("/v2/a/blobs/{}", of(bytes)), 200, bytes);
        self.manifest(tag, &[(media_type, &of(bytes), bytes.len())])
    }

    fn manifest(&self, tag: &str, layers: &[(&str, &str, usize)]) -> String {
        let layers: Vec<_> = layers
            .iter()
            .map(|(media, digest, size)| serde_json::json!({"mediaType": media, "digest": digest, "size": size}))
            .collect();
        let config = serde_json::json!({"mediaType": "application/json", "digest": of(b"{}"), "size": 2});
        let text = serde_json::json!({"schemaVersion": 2, "config": config, "layers": layers}).to_string();
        self.put(format!("/v2/a/manifests/{tag}"), 200, text.as_bytes());
        self.put(format!("/v2/a/manifests/{}", of(text.as_bytes())), 200, text.as_bytes());
        of(text.as_bytes())
    }

    fn reference(&self, end: &str) -> String {
        format!("{}/a{end}", self.host)
    }

    /// Every request from now on is refused with this.
    fn fail(&self, status: u16) {
        self.answers.lock().unwrap().values_mut().for_each(|answer| *answer = (status, b"no".to_vec()));
    }
}

async fn serve(mut stream: TcpStream, answers: &Answers, asked: &Mutex<Vec<String>>) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        request.push(byte);
        // Not HTTP, for example the beginning of TLS.
        if !request.starts_with(b"G") {
            return;
        }
    }
    let request = String::from_utf8(request).unwrap();
    let path = request.split(' ').nth(1).unwrap().to_owned();
    let (status, body) = answers.lock().unwrap().get(&path).cloned().unwrap_or((404, Vec::new()));
    asked.lock().unwrap().push(path);
    let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    // A client that has seen enough closes; that is its right.
    let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
}

fn of(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Sha256::digest(bytes))
}

fn registry(fake: &Fake, cache: Option<&Path>) -> Registry {
    let options = RegistryOptions { insecure: vec![fake.host.clone()], ..RegistryOptions::default() };
    Registry::new(options, cache)
}

const WASM: &str = "application/wasm";

/// Goal: bytes that are not what their name says are refused, and nothing of them stays. Method: a spoilt layer, a spoilt manifest behind
/// a pinned digest, a layer longer than announced.
#[tokio::test]
async fn no_wrong_byte_is_handed_on() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let registry = registry(&fake, Some(folder.path()));
    let pinned = fake.push("1", WASM, b"good");
    fake.put(format!("/v2/a/blobs/{}", of(b"good")), 200, b"evil");
    let error = registry.pull(&fake.reference(":1")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused { .. } | RegistryError::Digest { .. }), "{error}");
    fake.put(format!("/v2/a/blobs/{}", of(b"good")), 200, b"good and more");
    assert!(registry.pull(&fake.reference(":1")).await.is_err());

    fake.push("2", WASM, b"other");
    let other = fake.answers.lock().unwrap()["/v2/a/manifests/2"].1.clone();
    let fresh = tempfile::tempdir().unwrap();
    fake.put(format!("/v2/a/manifests/{pinned}"), 200, &other);
    let careful = self::registry(&fake, Some(fresh.path()));
    let error = careful.pull(&fake.reference(&format!("@{pinned}"))).await.unwrap_err();
    assert!(matches!(error, RegistryError::Refused { .. } | RegistryError::Digest { .. }), "{error}");
    assert_eq!(careful.pull(&fake.reference(":2")).await.unwrap().bytes, b"other");
}

/// Goal: what was pulled serves while the registry is away, and not when it says no. Method: pull, then let it fail in both ways.
#[tokio::test]
async fn away_is_not_no() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let digest = fake.push("1", WASM, b"one");
    let first = registry(&fake, Some(folder.path())).pull(&fake.reference(":1")).await.unwrap();
    assert_eq!((first.bytes.as_slice(), first.manifest.as_str()), (&b"one"[..], digest.as_str()));

    // Another host process with the same cache.
    let registry = self::registry(&fake, Some(folder.path()));
    fake.fail(503);
    assert_eq!(registry.pull(&fake.reference(":1")).await.unwrap().bytes, b"one");
    let error = registry.pull(&fake.reference(":2")).await.unwrap_err();
    assert!(matches!(error, RegistryError::NotFound(_)), "{error}");
    fake.put("/v2/a/manifests/3".to_owned(), 503, b"");
    let error = registry.pull(&fake.reference(":3")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Away { .. }), "{error}");
    for (status, no) in
        [(404, "is not in its registry"), (401, "credentials"), (403, "credentials"), (400, "cannot be used")]
    {
        fake.fail(status);
        let error = registry.pull(&fake.reference(":1")).await.unwrap_err().to_string();
        assert!(error.contains(no), "{status}: {error}");
    }
    let gone = Registry::new(RegistryOptions { insecure: vec!["127.0.0.1:1".to_owned()], ..Default::default() }, None);
    let error = gone.pull("127.0.0.1:1/a:1").await.unwrap_err().to_string();
    assert!(error.contains("cannot be pulled") && error.to_lowercase().contains("refused"), "{error}");
}

/// Goal: a digest that is on disk is not asked for again, a tag is each time, and a spoilt file is pulled anew. Method: count requests.
#[tokio::test]
async fn what_is_here_is_not_pulled_again() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let registry = registry(&fake, Some(folder.path()));
    let first = fake.push("1", WASM, b"one");
    let asked = || std::mem::take(&mut *fake.asked.lock().unwrap());
    registry.pull(&fake.reference(":1")).await.unwrap();
    assert!(asked().iter().any(|path| path.contains("/blobs/")));
    registry.pull(&fake.reference(":1")).await.unwrap();
    assert!(asked().iter().all(|path| !path.contains("/blobs/")));
    let pinned = fake.reference(&format!(":other@{first}"));
    assert_eq!(registry.pull(&pinned).await.unwrap().bytes, b"one");
    assert_eq!(asked(), Vec::<String>::new());

    let second = fake.push("1", WASM, b"two");
    let moved = registry.pull(&fake.reference(":1")).await.unwrap();
    assert_eq!((moved.bytes.as_slice(), moved.manifest), (&b"two"[..], second));
    assert_eq!(registry.pull(&pinned).await.unwrap().bytes, b"one");

    for entry in std::fs::read_dir(folder.path().join("blobs")).unwrap() {
        std::fs::write(entry.unwrap().path(), b"spoilt").unwrap();
    }
    asked();
    assert_eq!(registry.pull(&pinned).await.unwrap().bytes, b"one");
    assert!(asked().iter().any(|path| path.contains("/blobs/")));
}

/// Goal: only one artifact of the right kind and size is taken. Method: manifests of each wrong kind; every message names the reason.
#[tokio::test]
async fn other_kinds_are_refused() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().unwrap());
    let registry = registry(&fake, Some(folder.path()));
    let blob = of(b"x");
    fake.push("par", PROVIDER_LAYER, b"x");
    fake.push("text", "text/plain", b"x");
    fake.manifest("none", &[]);
    fake.manifest("two", &[(WASM, &blob, 1), (WASM, &blob, 1)]);
    fake.manifest("huge", &[(WASM, &blob, 1 << 40)]);
    fake.put("/v2/a/manifests/index".to_owned(), 200, br#"{"schemaVersion":2,"manifests":[]}"#);
    fake.put("/v2/a/manifests/page".to_owned(), 200, b"<html>");
    for (tag, says) in [
        ("par", "provider archive"),
        ("text", "text/plain"),
        ("none", "has nothing"),
        ("two", "application/wasm, application/wasm"),
        ("huge", "the limit is"),
        ("index", "index of several images"),
        ("page", "cannot be read"),
        ("latest", "not allowed"),
    ] {
        let error = registry.pull(&fake.reference(&format!(":{tag}"))).await.unwrap_err().to_string();
        assert!(error.contains(says) && error.contains(&fake.host), "{tag}: {error}");
    }
    let path = registry.pull_provider(&fake.reference(":par")).await.unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"x");
    fake.push("wasm", WASM, b"y");
    let error = registry.pull_provider(&fake.reference(":wasm")).await.unwrap_err();
    assert!(matches!(error, RegistryError::OtherKind { .. }), "{error}");
    let nowhere = self::registry(&fake, None);
    assert_eq!(nowhere.pull(&fake.reference(":wasm")).await.unwrap().bytes, b"y");
    assert!(matches!(nowhere.pull_provider(&fake.reference(":par")).await, Err(RegistryError::NoCache(_))));
}

/// Goal: nothing is spoken in plain HTTP with a host that was not listed, and no secret can be printed. Method: the same registry unlisted;
/// the debug text of options.
#[tokio::test]
async fn plain_http_is_for_listed_hosts_only() {
    let fake = Fake::start().await;
    fake.push("1", WASM, b"one");
    let credentials = Credentials::from_parts(Some("u".into()), Some("hidden".into()), None).unwrap();
    let options =
        RegistryOptions { credentials: BTreeMap::from([(fake.host.clone(), credentials)]), ..Default::default() };
    assert!(!format!("{options:?}").contains("hidden"));
    let error = Registry::new(options, None).pull(&fake.reference(":1")).await.unwrap_err();
    assert!(matches!(error, RegistryError::Away { .. }), "{error}");
    assert_eq!(*fake.asked.lock().unwrap(), Vec::<String>::new());
    assert!(Credentials::from_parts(Some("u".into()), None, None).is_none());
    assert_eq!(plain(" HTTPS://Shop.Test:5000/ "), "shop.test:5000");
}
