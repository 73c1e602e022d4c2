//! Scripts and keys against a real redis-server of our own; it fails loudly where Redis is not installed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(missing_docs, reason = "tests")]

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use swiftcart_provider_redis::{Config, Error, Item, KeyPage, Redis, Script};

/// A running server with its own free port and folder; gone when the test ends.
struct Server {
    folder: tempfile::TempDir,
    port: u16,
    process: Option<Child>,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("swiftcart-redis-").tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { folder, port, process: None };
        server.resume().await;
        server
    }

    async fn resume(&mut self) {
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("these tests need redis-server on the PATH (Debian: apt install redis-server)");
        self.process = Some(child);
        let deadline = Instant::now() + Duration::from_secs(20);
        while Redis::connect(self.config(&[])).await.is_err() {
            assert!(Instant::now() < deadline, "redis-server did not start");
        }
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn signal(&self, signal: &str) {
        let process = self.process.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &process]).status().unwrap().success());
    }

    fn config(&self, more: &[(&str, &str)]) -> Config {
        let url = format!("redis://127.0.0.1:{}", self.port);
        let pairs = [("url", url.as_str())].into_iter().chain(more.iter().copied());
        Config::from_pairs(pairs.map(|(key, value)| (key.to_owned(), value.to_owned()))).unwrap()
    }

    async fn client(&self, more: &[(&str, &str)]) -> Redis {
        Redis::connect(self.config(more)).await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn script(source: &str) -> Script {
    Script { name: "test".to_owned(), source: source.to_owned() }
}

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn text(text: &str) -> Item {
    Item::Text(text.to_owned())
}

/// Waits until something holds; fails after ten seconds.
async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Goal: replies arrive as the contract says; wrong ones are refused. Method: scripts that return each kind.
#[tokio::test(flavor = "multi_thread")]
async fn scripts_and_their_replies() {
    let server = Server::start().await;
    let redis = server.client(&[]).await;
    let run = async |source: &str| redis.run_script(&script(source), &strings(&["k"]), &strings(&["a", "żółw"])).await;

    assert_eq!(
        run("return {KEYS[1], ARGV[2], 7, 2.9, true, false}").await.unwrap(),
        [text("k"), text("żółw"), Item::Integer(7), Item::Integer(2), Item::Integer(1), Item::Nil]
    );
    assert_eq!(run("return nil").await.unwrap(), [Item::Nil]);
    assert_eq!(run("return {}").await.unwrap(), []);
    assert_eq!(run("return redis.call('SET', KEYS[1], ARGV[1])").await.unwrap(), [text("OK")]);
    assert_eq!(run("return redis.call('INCR', 'n')").await.unwrap(), [Item::Integer(1)]);
    // A second run goes by the digest alone.
    assert_eq!(run("return redis.call('INCR', 'n')").await.unwrap(), [Item::Integer(2)]);
    for wrong in [
        "return {1, {2}}",
        "return '\\255'",
        "return redis.error_reply('NOT_ENOUGH of it')",
        "error('oops')",
        "retrun 1",
        "return redis.call('LPUSH', KEYS[1], '1')",
    ] {
        match run(wrong).await {
            Err(Error::Invalid(message)) => assert!(message.contains("`test`"), "{message}"),
            other => panic!("{wrong}: {other:?}"),
        }
    }
    let too_many = vec![String::new(); 20_000];
    assert!(matches!(redis.run_script(&script("return 1"), &too_many, &[]).await, Err(Error::Invalid(_))));
}

/// Goal: a server that lost its scripts gets them again, and each run happens once. Method: flush between runs and count.
#[tokio::test(flavor = "multi_thread")]
async fn forgotten_scripts_are_sent_again() {
    let server = Server::start().await;
    let redis = server.client(&[]).await;
    let count = script("return redis.call('INCR', KEYS[1])");
    for expected in 1..=3 {
        assert_eq!(redis.run_script(&count, &strings(&["runs"]), &[]).await.unwrap(), [Item::Integer(expected)]);
        redis.run_script(&script("return redis.call('PING')"), &[], &[]).await.unwrap();
        let flushed = Command::new("redis-cli")
            .args(["-p", &server.port.to_string(), "SCRIPT", "FLUSH"])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(flushed.success());
    }
}

/// Goal: the functions of wasi:keyvalue. Method: each of them once on a fresh server.
#[tokio::test(flavor = "multi_thread")]
async fn plain_keys() {
    let server = Server::start().await;
    let redis = server.client(&[]).await;
    assert_eq!(redis.get("a").await, Ok(None));
    redis.set("a", &[0, 255]).await.unwrap();
    assert_eq!(redis.get("a").await, Ok(Some(vec![0, 255])));
    assert_eq!((redis.exists("a").await, redis.exists("b").await), (Ok(true), Ok(false)));
    redis.delete("a").await.unwrap();
    redis.delete("a").await.unwrap();
    assert_eq!(redis.exists("a").await, Ok(false));
    assert_eq!(redis.increment("n", 5).await, Ok(5));
    assert_eq!(redis.increment("n", -7).await, Ok(-2));
    redis.set("t", b"text").await.unwrap();
    assert!(matches!(redis.increment("t", 1).await, Err(Error::Invalid(_))));

    redis.set_many(&[("x".to_owned(), b"1".to_vec()), ("y".to_owned(), vec![])]).await.unwrap();
    assert_eq!(
        redis.get_many(&strings(&["y", "missing", "x"])).await.unwrap(),
        [Some(("y".to_owned(), vec![])), None, Some(("x".to_owned(), b"1".to_vec()))]
    );
    redis.delete_many(&strings(&["x", "y", "missing"])).await.unwrap();
    assert_eq!(redis.get_many(&[]).await, Ok(vec![]));
    redis.set_many(&[]).await.unwrap();
    redis.delete_many(&[]).await.unwrap();

    let many: Vec<_> = (0..2_500).map(|number| (format!("many:{number}"), vec![1])).collect();
    redis.set_many(&many).await.unwrap();
    let mut found = std::collections::BTreeSet::new();
    let mut page = KeyPage { keys: vec![], cursor: Some(0) };
    let mut pages = 0;
    while page.cursor.is_some() {
        page = redis.list_keys(page.cursor).await.unwrap();
        found.extend(page.keys.iter().cloned());
        pages += 1;
    }
    assert!(pages > 1);
    assert_eq!(found.len(), 2_502);
}

/// Goal: "did not run" and "may have run" are told apart. Method: a server that is gone, one that is stopped with a command in flight,
/// and one that dies under a command.
#[tokio::test(flavor = "multi_thread")]
async fn lost_connections() {
    let mut server = Server::start().await;
    let redis = server.client(&[("response_timeout_ms", "300"), ("connect_timeout_ms", "400")]).await;
    let write = script("return redis.call('INCR', KEYS[1])");
    let keys = strings(&["runs"]);
    redis.run_script(&write, &keys, &[]).await.unwrap();

    // Stuck: the first command was sent, so nobody knows; reading is harmless; later commands are certain not to be sent.
    server.signal("-STOP");
    assert!(matches!(redis.run_script(&write, &keys, &[]).await, Err(Error::Uncertain(_))));
    assert!(matches!(redis.get("runs").await, Err(Error::Unavailable(_))));
    assert!(matches!(redis.run_script(&write, &keys, &[]).await, Err(Error::Unavailable(_))));
    server.signal("-CONT");
    eventually("redis answers again", || async { redis.ping().await.is_ok() }).await;
    assert_eq!(redis.get("runs").await, Ok(Some(b"2".to_vec())), "the uncertain one ran, the unavailable one did not");

    // Gone while idle: the client knows before it sends.
    server.stop();
    eventually("the client has noticed", || async { matches!(redis.ping().await, Err(Error::Unavailable(_))) }).await;
    assert!(matches!(redis.run_script(&write, &keys, &[]).await, Err(Error::Unavailable(_))));
    assert!(matches!(Redis::connect(server.config(&[])).await, Err(Error::Unavailable(_))));
    server.resume().await;
    eventually("the client has recovered", || async { redis.ping().await.is_ok() }).await;
    // The new server does not know the script.
    assert_eq!(redis.run_script(&write, &keys, &[]).await.unwrap(), [Item::Integer(1)]);

    // Gone with a command in flight.
    let endless = script("while true do end");
    let (result, ()) = tokio::join!(redis.run_script(&endless, &[], &[]), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.stop();
    });
    assert!(matches!(result, Err(Error::Uncertain(_))), "{result:?}");
}

/// Goal: a server that refuses writes for now is `Unavailable`. Method: too little memory, then a replica without its master.
#[tokio::test(flavor = "multi_thread")]
async fn not_now() {
    let server = Server::start().await;
    let redis = server.client(&[]).await;
    let configure = |arguments: &[&str]| {
        let status = Command::new("redis-cli")
            .args(["-p", &server.port.to_string()])
            .args(arguments)
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    };
    let write = script("return redis.call('SET', KEYS[1], '1')");
    configure(&["CONFIG", "SET", "maxmemory", "1"]);
    assert!(matches!(redis.set("a", b"1").await, Err(Error::Unavailable(_))));
    let result = redis.run_script(&write, &strings(&["a"]), &[]).await;
    assert!(matches!(result, Err(Error::Unavailable(_))), "{result:?}");
    configure(&["CONFIG", "SET", "maxmemory", "0"]);
    configure(&["REPLICAOF", "127.0.0.1", "1"]);
    assert!(matches!(redis.set("a", b"1").await, Err(Error::Unavailable(_))));
    let result = redis.run_script(&write, &strings(&["a"]), &[]).await;
    assert!(matches!(result, Err(Error::Unavailable(_))), "{result:?}");
    configure(&["REPLICAOF", "NO", "ONE"]);
    assert_eq!(redis.exists("a").await, Ok(false));
}

/// Goal: one connection serves many callers at once, each with its own answer.
#[tokio::test(flavor = "multi_thread")]
async fn many_callers() {
    let server = Server::start().await;
    let redis = server.client(&[]).await;
    let echo = script("return {ARGV[1]}");
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..200 {
        let (redis, echo) = (redis.clone(), echo.clone());
        tasks.spawn(async move {
            let number = number.to_string();
            redis.run_script(&echo, &[], std::slice::from_ref(&number)).await == Ok(vec![Item::Text(number)])
        });
    }
    while let Some(right) = tasks.join_next().await {
        assert!(right.unwrap());
    }
}
