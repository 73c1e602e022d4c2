//! Which call meets which client, with a library that only counts.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;

const STORE: &str = "wasi:keyvalue/store";
const ATOMICS: &str = "wasi:keyvalue/atomics";

/// Its client is the settings themselves. `away` is how often it is not there at first.
#[derive(Default)]
struct Echo {
    away: AtomicU32,
    made: AtomicU32,
}

#[async_trait]
impl Library for Echo {
    type Client = Pairs;

    async fn connect(&self, pairs: Pairs) -> Result<Pairs, ConnectError> {
        if pairs.contains_key("wrong") {
            return Err(ConnectError::Refused("`wrong` is wrong".to_owned()));
        }
        if self.away.load(Ordering::SeqCst) > 0 {
            self.away.fetch_sub(1, Ordering::SeqCst);
            return Err(ConnectError::Away("nobody there".to_owned()));
        }
        self.made.fetch_add(1, Ordering::SeqCst);
        Ok(pairs)
    }

    async fn ping(&self, client: &Pairs) -> Result<(), String> {
        if client.contains_key("ill") { Err("not well".to_owned()) } else { Ok(()) }
    }

    async fn close(&self, _client: Pairs) {}
}

fn pairs(pairs: &[(&str, &str)]) -> Pairs {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn id(source: &str, package: &str) -> LinkId {
    LinkId { peer: source.to_owned(), name: "default".to_owned(), package: package.to_owned() }
}

fn link(source: &str, package: &str, interface: &str, settings: &[(&str, &str)]) -> OwnLink {
    let interfaces = vec![format!("{package}/{interface}")];
    OwnLink { id: id(source, package), role: Role::Target, interfaces, pairs: pairs(settings) }
}

fn caller(source: &str) -> Caller {
    Caller { source_id: source.to_owned(), link_name: "default".to_owned() }
}

/// Goal: settings of the link stand over the provider's; a caller without the link, or with another interface of it, gets nothing.
#[tokio::test(start_paused = true)]
async fn each_caller_meets_the_client_of_its_links() {
    let clients = Clients::new(Echo::default(), pairs(&[("size", "1"), ("colour", "red")]));
    clients.put_link(link("a", "wasi:keyvalue", "store", &[("size", "2")]));
    let client = clients.client(&caller("a"), STORE).await.unwrap();
    assert_eq!(client, pairs(&[("size", "2"), ("colour", "red")]));
    for (source, interface) in [("b", STORE), ("a", ATOMICS), ("", STORE)] {
        let none = clients.client(&caller(source), interface).await.unwrap_err();
        assert!(matches!(none, NoClient::NotLinked { .. }), "{source} {interface}: {none}");
    }
    let named = Caller { link_name: "other".to_owned(), ..caller("a") };
    assert!(clients.client(&named, STORE).await.is_err());
}

/// Goal: links of one name share a client made of all their settings, and those may not contradict each other.
#[tokio::test(start_paused = true)]
async fn links_of_one_component_share_a_client() {
    let clients = Clients::new(Echo::default(), Pairs::new());
    clients.put_link(link("a", "swiftcart:redis", "scripts", &[("url", "x")]));
    clients.put_link(link("a", "wasi:keyvalue", "store", &[]));
    assert_eq!(clients.client(&caller("a"), STORE).await.unwrap(), pairs(&[("url", "x")]));
    clients.put_link(link("a", "wasi:keyvalue", "store", &[("url", "y")]));
    let none = clients.client(&caller("a"), STORE).await.unwrap_err();
    assert_eq!(none, NoClient::Unavailable("two links of the same name give url two different values".to_owned()));
    clients.delete_link(&id("a", "swiftcart:redis"));
    assert_eq!(clients.client(&caller("a"), STORE).await.unwrap(), pairs(&[("url", "y")]));
}

/// Goal: the same link again keeps its connections; other settings of link or provider replace them; a deleted link serves nobody.
#[tokio::test(start_paused = true)]
async fn only_other_settings_make_another_client() {
    let clients = Clients::new(Echo::default(), Pairs::new());
    let made = || clients.library.made.load(Ordering::SeqCst);
    for _ in 0..3 {
        clients.put_link(link("a", "wasi:keyvalue", "store", &[("url", "x")]));
        clients.client(&caller("a"), STORE).await.unwrap();
    }
    assert_eq!(made(), 1);
    clients.put_link(link("a", "wasi:keyvalue", "store", &[("url", "y")]));
    assert_eq!(clients.client(&caller("a"), STORE).await.unwrap(), pairs(&[("url", "y")]));
    clients.configure(pairs(&[("size", "9")]));
    assert_eq!(clients.client(&caller("a"), STORE).await.unwrap(), pairs(&[("url", "y"), ("size", "9")]));
    assert_eq!(made(), 3);
    clients.delete_link(&id("a", "wasi:keyvalue"));
    assert!(matches!(clients.client(&caller("a"), STORE).await, Err(NoClient::NotLinked { .. })));
}

/// Goal: a call that comes a moment before its link, or before the connection, is served; one that comes too early says why not.
#[tokio::test(start_paused = true)]
async fn a_call_waits_a_moment_and_no_longer() {
    let clients = Clients::new(Echo { away: AtomicU32::new(1), ..Echo::default() }, Pairs::new());
    let early = tokio::spawn({
        let clients = clients.clone();
        async move { clients.client(&caller("a"), STORE).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    clients.put_link(link("a", "wasi:keyvalue", "store", &[]));
    assert_eq!(early.await.unwrap(), Ok(Pairs::new()));
    clients.library.away.store(u32::MAX, Ordering::SeqCst);
    clients.put_link(link("b", "wasi:keyvalue", "store", &[]));
    let begun = Instant::now();
    let none = clients.client(&caller("b"), STORE).await.unwrap_err();
    assert_eq!(none, NoClient::Unavailable("nobody there".to_owned()));
    assert_eq!(begun.elapsed(), limits::LINK);
}

/// Goal: health names every link that does not work, whatever the reason, and none that does.
#[tokio::test(start_paused = true)]
async fn health_names_what_does_not_work() {
    let clients = Clients::new(Echo::default(), Pairs::new());
    assert_eq!(clients.health().await, Health { healthy: true, message: None });
    clients.put_link(link("good", "wasi:keyvalue", "store", &[]));
    clients.put_link(link("refused", "wasi:keyvalue", "store", &[("wrong", "1")]));
    clients.put_link(link("pale", "wasi:keyvalue", "store", &[("ill", "1")]));
    clients.client(&caller("good"), STORE).await.unwrap();
    clients.client(&caller("pale"), STORE).await.unwrap();
    clients.client(&caller("refused"), STORE).await.unwrap_err();
    let health = clients.health().await;
    let message = health.message.unwrap();
    assert!(!health.healthy);
    assert!(message.contains("from refused: `wrong` is wrong") && message.contains("from pale: not well"), "{message}");
    assert!(!message.contains("good"), "{message}");
}
