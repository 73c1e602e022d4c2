//! Goal: the server begins and ends in order, and no begun request is lost on the way.

use std::time::Instant;

use swiftcart_provider_http::{Error, Server};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::{
    support::{Shop, TestHandler, bearer, config, eventually, get, within},
    wire::Wire,
};

#[tokio::test]
async fn a_shutdown_answers_what_was_begun() {
    let mut shop = Shop::open(|_| {}).await;
    let mut idle = Wire::connect(shop.edge.address).await;
    idle.send(get("/public", "")).await;
    assert_eq!(within(idle.reply()).await.unwrap().status, 200);
    let mut busy = Wire::connect(shop.edge.address).await;
    busy.send(get("/gate", &bearer(&shop.token))).await;
    eventually("it is being handled", || shop.edge.handler.begun() == 2).await;

    shop.edge.shutdown.cancel();
    assert!(within(idle.closed()).await, "an idle connection is closed at once");
    let address = shop.edge.address;
    within(async { while TcpStream::connect(address).await.is_ok() {} }).await;
    assert!(!shop.edge.running.is_finished());

    shop.edge.handler.gate.add_permits(1);
    let reply = within(busy.reply()).await.unwrap();
    assert_eq!((reply.status, reply.body.as_slice()), (200, b"through".as_slice()));
    assert!(within(busy.closed()).await);
    assert!(within(&mut shop.edge.running).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_drain_has_an_end() {
    let mut shop = Shop::open(|config| config.drain_timeout_ms = 100).await;
    let mut busy = Wire::connect(shop.edge.address).await;
    busy.send(get("/never", &bearer(&shop.token))).await;
    eventually("it is being handled", || shop.edge.handler.begun() == 1).await;
    let begun = Instant::now();
    shop.edge.shutdown.cancel();
    assert!(within(&mut shop.edge.running).await.unwrap().is_ok());
    // Far less than the answer's deadline of ten seconds.
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
    assert!(within(busy.closed()).await);
}

// Goal: a client that hangs up does not stop what it began, and a drain waits for that too.
#[tokio::test]
async fn hanging_up_does_not_cut_off_the_handler() {
    let mut shop = Shop::open(|_| {}).await;
    let mut wire = Wire::connect(shop.edge.address).await;
    wire.send(get("/gate", &bearer(&shop.token))).await;
    eventually("it is being handled", || shop.edge.handler.begun() == 1).await;
    drop(wire);
    shop.edge.shutdown.cancel();
    assert_eq!(shop.edge.handler.finished(), 0);
    shop.edge.handler.gate.add_permits(1);
    assert!(within(&mut shop.edge.running).await.unwrap().is_ok());
    assert_eq!(shop.edge.handler.finished(), 1);
}

#[tokio::test]
async fn it_runs_once_and_needs_its_port() {
    let shop = Shop::open(|_| {}).await;
    assert!(matches!(shop.edge.server.run(CancellationToken::new()).await, Err(Error::AlreadyRun)));
    let mut taken = config(shop.issuer.url());
    taken.address = shop.edge.address;
    assert!(matches!(Server::bind(taken, TestHandler::new()).await, Err(Error::Bind { .. })));
    // Sharing needs the consent of both.
    let mut shared = config(shop.issuer.url());
    (shared.address, shared.reuse_port) = (shop.edge.address, true);
    assert!(matches!(Server::bind(shared.clone(), TestHandler::new()).await, Err(Error::Bind { .. })));
    shared.address.set_port(0);
    let first = Server::bind(shared.clone(), TestHandler::new()).await.unwrap();
    shared.address = first.local_addr();
    let second = Server::bind(shared, TestHandler::new()).await.unwrap();
    assert_eq!(second.local_addr(), first.local_addr());
    let mut wrong = config(shop.issuer.url());
    wrong.burst = 0;
    assert!(matches!(Server::bind(wrong, TestHandler::new()).await, Err(Error::Config(_))));
}
