//! Goal: every service starts for real, keeps its data over a stop, a crash and a restart on the same port, and ends when it is dropped.
//! Method: each service alone in a folder of its own; data goes in and comes out over the service's own protocol.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests that report how long a start took"
)]

mod ground;

use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ground::{INSTALLED, place, report, sim_binary};
use sqlx::{Connection, PgConnection};
use swiftcart_support::client::{http_client, send};
use swiftcart_support::eventually;
use swiftcart_support::service::{Issuer, Kafka, KafkaNode, Maildev, Nats, Postgres, Psp, Redis, Registry, Service};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

/// Stop, start, kill, start: the service answers again each time and is another process.
async fn survives(service: &mut Service) {
    let name = service.name().to_owned();
    let first = service.process().unwrap();
    let since = Instant::now();
    service.restart().await.unwrap();
    report(&format!("{name}: stop and start"), since);
    assert!(!first.alive());
    let second = service.process().unwrap();
    let since = Instant::now();
    service.kill().unwrap();
    assert!(!second.alive());
    service.start().await.unwrap();
    report(&format!("{name}: kill and start"), since);
    assert!(service.exited().is_none());
}

#[tokio::test]
async fn postgres_keeps_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let since = Instant::now();
    let mut postgres =
        Postgres::start_in(&place(folder.path()), INSTALLED.postgres_bin.as_deref().unwrap()).await.unwrap();
    report("postgres: first start", since);
    let mut connection = PgConnection::connect(&postgres.admin_url()).await.unwrap();
    sqlx::raw_sql("CREATE TABLE t (n int); INSERT INTO t VALUES (7)").execute(&mut connection).await.unwrap();
    survives(&mut postgres).await;
    let mut connection = PgConnection::connect(&postgres.admin_url()).await.unwrap();
    assert_eq!(sqlx::query_scalar::<_, i32>("SELECT n FROM t").fetch_one(&mut connection).await.unwrap(), 7);
    let port = postgres.port();
    let process = postgres.process().unwrap();
    drop(postgres);
    assert!(!process.alive());
    assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
}

/// Not a test of its own: what `children_end_with_a_killed_parent` starts and kills.
#[tokio::test]
#[ignore = "started by another test as a process of its own"]
async fn hold_a_redis() {
    let Some(folder) = std::env::var_os("SWIFTCART_TEST_HOLD") else { return };
    let place = place(Path::new(&folder));
    // The thread of the start may end before the process does; its children must not end with it.
    let program = INSTALLED.redis_server.clone().unwrap();
    let started = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Redis::start_in(&place, &program)).unwrap()
    });
    let _redis = started.join().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    std::fs::write(Path::new(&folder).join("holding"), "").unwrap();
    std::future::pending().await
}

#[tokio::test]
async fn children_end_with_a_killed_parent() {
    let folder = tempfile::tempdir().unwrap();
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "hold_a_redis"])
        .env("SWIFTCART_TEST_HOLD", folder.path())
        .spawn()
        .unwrap();
    eventually(Duration::from_secs(60), "a parent with a Redis", || async {
        anyhow::ensure!(folder.path().join("holding").exists(), "not yet");
        Ok(())
    })
    .await
    .unwrap();
    let ports: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("ports.json")).unwrap()).unwrap();
    let address = (Ipv4Addr::LOCALHOST, u16::try_from(ports["redis"].as_u64().unwrap()).unwrap());
    assert!(TcpStream::connect(address).is_ok());
    parent.kill().unwrap();
    parent.wait().unwrap();
    eventually(Duration::from_secs(10), "the end of the Redis", || async {
        anyhow::ensure!(TcpStream::connect(address).is_err(), "it still listens");
        Ok(())
    })
    .await
    .unwrap();
}

async fn redis_command(redis: &Redis, command: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", redis.port())).await.unwrap();
    let password = redis.url().split(['@', ':']).nth(2).unwrap().to_owned();
    stream.write_all(format!("AUTH {password}\r\n{command}\r\nQUIT\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn redis_keeps_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let since = Instant::now();
    let mut redis = Redis::start_in(&place(folder.path()), INSTALLED.redis_server.as_deref().unwrap()).await.unwrap();
    report("redis: first start", since);
    redis_command(&redis, "SET a 42").await;
    survives(&mut redis).await;
    assert!(redis_command(&redis, "GET a").await.contains("42"));
}

#[tokio::test]
async fn nats_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let since = Instant::now();
    let mut nats = Nats::start_in(&place(folder.path()), INSTALLED.nats_server.as_deref().unwrap()).await.unwrap();
    report("nats: first start", since);
    survives(&mut nats).await;
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", nats.port())).await.unwrap();
    let mut greeting = vec![0; 4096];
    let length = stream.read(&mut greeting).await.unwrap();
    let greeting = String::from_utf8_lossy(&greeting[..length]).into_owned();
    assert!(greeting.starts_with("INFO") && greeting.contains("\"jetstream\":true"), "{greeting}");
}

#[tokio::test]
async fn registries_come_back_open_and_locked() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    let program = INSTALLED.registry.as_deref().unwrap();
    let since = Instant::now();
    let (mut open, mut locked) =
        tokio::try_join!(Registry::start_in(&place, program), Registry::start_locked_in(&place, program)).unwrap();
    report("registries: first start", since);
    let http = http_client().build().unwrap();
    let config = b"{}";
    let digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    let upload = send(http.post(format!("http://{}/v2/a/blobs/uploads/", open.host()))).await.unwrap();
    let place_of_upload = upload.expect_status(202).unwrap().header("location").unwrap().to_owned();
    let put = http.put(place_of_upload).query(&[("digest", digest)]).body(&config[..]);
    send(put).await.unwrap().expect_status(201).unwrap();
    survives(&mut open).await;
    survives(&mut locked).await;
    let kept = send(http.get(format!("http://{}/v2/a/blobs/{digest}", open.host()))).await.unwrap();
    assert_eq!(kept.expect_status(200).unwrap().body, config);
    let version = || http.get(format!("http://{}/v2/", locked.host()));
    let (user, password) = Registry::credentials();
    send(version().basic_auth(user, Some("wrong"))).await.unwrap().expect_status(401).unwrap();
    send(version().basic_auth(user, Some(password))).await.unwrap().expect_status(200).unwrap();
}

#[tokio::test]
async fn kafka_comes_back_alone_and_as_three() {
    let folder = tempfile::tempdir().unwrap();
    let program = INSTALLED.kafka.as_ref().unwrap();
    let since = Instant::now();
    let mut kafka = Kafka::start_in(&place(folder.path()), program).await.unwrap();
    report("kafka: first start", since);
    survives(&mut kafka).await;
    kafka.stop().await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    let nodes = KafkaNode::cluster(&place, 3).unwrap();
    let since = Instant::now();
    let starting = nodes.iter().map(|node| Kafka::start_node(&place, program, node));
    let mut cluster = futures::future::try_join_all(starting).await.unwrap();
    report("kafka: first start of three", since);
    cluster[1].kill().unwrap();
    cluster[1].start().await.unwrap();
    let stopping: Vec<_> = cluster.iter_mut().map(|node| node.stop()).collect();
    futures::future::try_join_all(stopping).await.unwrap();
}

#[tokio::test]
async fn a_mail_arrives_in_the_inbox() {
    let folder = tempfile::tempdir().unwrap();
    let since = Instant::now();
    let mut maildev = Maildev::start_in(&place(folder.path()), INSTALLED.maildev.as_ref().unwrap()).await.unwrap();
    report("maildev: first start", since);
    survives(&mut maildev).await;
    let address = maildev.smtp_url().trim_start_matches("smtp://").to_owned();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (reader, mut writer) = stream.into_split();
    let mut replies = tokio::io::BufReader::new(reader).lines();
    let message =
        "From: a@x.test\r\nTo: b@y.test\r\nSubject: Hello\r\nSwiftcart-Mail-Kind: order_confirmed\r\n\r\nText\r\n.";
    // The server wants its greeting to be read first; a line with a hyphen after its code is not the last of a reply.
    for command in ["", "EHLO test", "MAIL FROM:<a@x.test>", "RCPT TO:<b@y.test>", "DATA", message, "QUIT"] {
        if !command.is_empty() {
            writer.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
        }
        while replies.next_line().await.unwrap().unwrap().as_bytes().get(3) == Some(&b'-') {}
    }
    let url = format!("{}/api/email", maildev.web_url());
    let http = http_client().build().unwrap();
    let mails = eventually(Duration::from_secs(10), "a mail in the inbox", || async {
        let mails: Vec<swiftcart_support::client::Mail> = serde_json::from_slice(&send(http.get(&url)).await?.body)?;
        anyhow::ensure!(!mails.is_empty(), "it is empty");
        Ok(mails)
    })
    .await
    .unwrap();
    assert_eq!((mails[0].subject.as_str(), mails[0].to[0].address.as_str()), ("Hello", "b@y.test"));
    assert_eq!(mails[0].header("Swiftcart-Mail-Kind"), Some("order_confirmed"));
}

#[tokio::test]
async fn the_simulators_come_back_with_books_and_keys() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    let program = sim_binary();
    let since = Instant::now();
    let (mut psp, mut issuer) =
        tokio::try_join!(Psp::start_in(&place, &program), Issuer::start_in(&place, &program)).unwrap();
    report("simulators: first start", since);
    let http = http_client().build().unwrap();
    let pay = || {
        http.post(format!("{}/v1/payment_intents", psp.base_url()))
            .bearer_auth(psp.secret_key())
            .header("idempotency-key", "k")
            .body("amount=100&currency=eur&payment_method=pm_card_visa&confirm=true")
    };
    let first = send(pay()).await.unwrap().expect_status(200).unwrap();
    let again = pay();
    let keys = send(http.get(issuer.jwks_url())).await.unwrap().body;
    survives(&mut psp).await;
    survives(&mut issuer).await;
    let second = send(again).await.unwrap();
    assert_eq!(second.body, first.body);
    assert_eq!(second.header("idempotent-replayed"), Some("true"));
    assert_eq!(send(http.get(issuer.jwks_url())).await.unwrap().body, keys);
}
