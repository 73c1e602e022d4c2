//! Goal: a whole shop starts, starts again on the same data, can be left running and be ended from outside, and gives its host what the
//! manifest asks for. Method: all services for real; the host is a small stand-in that answers `/readyz` and writes down what it was given.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "tests that report how long a start took"
)]

mod ground;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use ground::{INSTALLED, report, sim_binary};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use swiftcart_support::Lifetime;
use swiftcart_support::shop::{DATABASES, External, HostOptions, Shop, ShopOptions, State, down};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn options(folder: &Path) -> ShopOptions {
    let mut options = ShopOptions::new(folder, &sim_binary());
    options.external = External::default();
    let _ = &*INSTALLED;
    options
}

#[tokio::test]
async fn a_shop_starts_twice_on_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let since = Instant::now();
    let shop = Shop::start(options.clone()).await.unwrap();
    report("shop without a host: first start", since);
    let refused = Shop::start(options.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("is used by a shop that is running"), "{refused:#}");
    let addresses = shop.addresses().clone();
    for name in DATABASES {
        let mut connection = PgConnection::connect(&addresses.database_urls[name]).await.unwrap();
        sqlx::raw_sql("CREATE TABLE t (n int)").execute(&mut connection).await.unwrap();
        for other in DATABASES.iter().chain(&["postgres"]).filter(|other| **other != name) {
            let (server, _) = addresses.database_urls[name].rsplit_once('/').unwrap();
            let error = PgConnection::connect(&format!("{server}/{other}")).await.unwrap_err();
            assert!(error.to_string().contains("permission denied"), "{name} to {other}: {error}");
        }
    }
    let client = shop.client().unwrap();
    assert_eq!(client.token("anna", "orders:read").unwrap().split('.').count(), 3);
    client.psp_faults(&json!({"fail_next": 1})).await.unwrap();
    assert_eq!(client.psp_ledger().await.unwrap()["intents"], json!([]));
    client.psp_reset().await.unwrap();
    assert!(client.inbox().await.unwrap().is_empty());
    client.clear_inbox().await.unwrap();
    let state = State::read(folder.path()).unwrap().unwrap();
    assert!(state.running() && state.processes.len() == 7);
    let since = Instant::now();
    shop.stop().await.unwrap();
    report("shop without a host: stop", since);
    assert!(!state.running() && State::read(folder.path()).unwrap().is_none());

    let since = Instant::now();
    let shop = Shop::start(options).await.unwrap();
    report("shop without a host: second start", since);
    assert_eq!(shop.addresses().database_urls, addresses.database_urls);
    assert_eq!(shop.addresses().kafka_bootstrap_servers, addresses.kafka_bootstrap_servers);
    let mut connection = PgConnection::connect(&addresses.database_urls["orders"]).await.unwrap();
    sqlx::raw_sql("SELECT n FROM t").execute(&mut connection).await.unwrap();
    shop.stop().await.unwrap();
}

/// Not a test of its own: the stand-in for the host, started through a script as a process of its own.
#[tokio::test]
#[ignore = "started by another test as a process of its own"]
async fn stand_in_host() {
    let Ok(arguments) = std::env::var("SWIFTCART_TEST_HOST_ARGUMENTS") else { return };
    let arguments: Vec<&str> = arguments.split_whitespace().collect();
    let value = |flag: &str| arguments[arguments.iter().position(|argument| *argument == flag).unwrap() + 1];
    let mut names: Vec<String> =
        std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("SWIFTCART_")).collect();
    names.sort();
    std::fs::write(Path::new(value("--cache-dir")).join("seen"), names.join("\n")).unwrap();
    let listener = tokio::net::TcpListener::bind(value("--admin-address")).await.unwrap();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        let _length = stream.read(&mut request).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await.unwrap();
    }
}

#[tokio::test]
async fn a_detached_shop_with_a_host_is_ended_by_down() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("host.sh");
    let this = std::env::current_exe().unwrap();
    let text = format!(
        "#!/bin/sh\nSWIFTCART_TEST_HOST_ARGUMENTS=\"$*\" exec {} --ignored --exact stand_in_host\n",
        this.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let mut options = options(&folder.path().join("data"));
    options.lifetime = Lifetime::Detached;
    let mut host = HostOptions::new(&script, &script, folder.path(), folder.path());
    host.config.push(("edge".into(), "requests_per_second".into(), "7".into()));
    let options = options.with_host(host);
    let data = options.data_dir.clone();
    let mut shop = Shop::start(options.clone()).await.unwrap();
    assert_eq!(shop.client().unwrap().admin("/readyz").await.unwrap().text(), "ok");

    let config = std::fs::read_to_string(data.join("config.yaml")).unwrap();
    for line in [
        "edge:",
        "  requests_per_second: \"7\"",
        "  audience: \"swiftcart\"",
        "kafka:",
        "  bootstrap_servers: \"127.0.0.1:",
        "psp:",
        "mail:",
        "seal:",
    ] {
        assert!(config.contains(line), "{line} is not in\n{config}");
    }
    let seen = std::fs::read_to_string(data.join("host-cache/seen")).unwrap();
    for name in [
        "ORDERS_DATABASE_URL",
        "PAYMENTS_DATABASE_URL",
        "INVENTORY_DATABASE_URL",
        "NOTIFICATIONS_DATABASE_URL",
        "REDIS_URL",
        "SMTP_URL",
        "PSP_SECRET_KEY",
        "MAIL_SEAL_SECRET_KEY",
    ] {
        assert!(seen.contains(&format!("SWIFTCART_{name}")), "{name} is not among\n{seen}");
    }

    shop.host().unwrap().restart().await.unwrap();
    shop.host().unwrap().kill().unwrap();
    shop.host().unwrap().start().await.unwrap();
    shop.host().unwrap().stop().await.unwrap();
    drop(shop);

    // Left running; the next start ends it and takes its place, on the same ports.
    let left = State::read(&data).unwrap().unwrap();
    assert!(left.running());
    let shop = Shop::start(options).await.unwrap();
    assert!(!left.running());
    assert_eq!(shop.addresses().edge_url, left.addresses.edge_url);
    drop(shop);
    let state = State::read(&data).unwrap().unwrap();
    assert!(state.processes.iter().all(|recorded| recorded.process.alive()) && state.processes.len() == 8);
    let stopped = tokio::task::spawn_blocking(move || down(&data)).await.unwrap().unwrap();
    assert_eq!(stopped.len(), 8);
    assert!(!state.running());
}
