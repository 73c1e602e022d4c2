//! Goal: only granted hosts are reached, nothing is sent twice, and an error tells whether something may have been sent.
//! Method: a server made of bare sockets that counts what it gets and misbehaves as told.

use std::{
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use swiftcart_provider_http::{Client, ClientConfig, ClientError, Phase, TimedBody, Timeouts};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};

use crate::support::{PATIENCE, eventually, within};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const LONG: Timeouts = Timeouts { connect: PATIENCE, first_byte: PATIENCE, between_bytes: PATIENCE };
const SHORT: Duration = Duration::from_millis(100);

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

impl Counts {
    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

struct Far {
    address: SocketAddr,
    counts: Arc<Counts>,
    _task: JoinSet<()>,
}

/// One request from the far side's point of view.
struct Exchange {
    stream: TcpStream,
    counts: Arc<Counts>,
}

impl Exchange {
    /// The head of the next request, or `None` when the client closed.
    async fn request(&mut self) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await.ok()?);
        }
        self.counts.requests.fetch_add(1, Ordering::SeqCst);
        Some(String::from_utf8(head).unwrap())
    }

    async fn answer(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }
}

impl Far {
    async fn start<F: Future<Output = ()> + Send + 'static>(behave: impl Fn(Exchange) -> F + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Counts::default());
        let mut task = JoinSet::new();
        let counting = Arc::clone(&counts);
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                counting.connections.fetch_add(1, Ordering::SeqCst);
                connections.spawn(behave(Exchange { stream, counts: Arc::clone(&counting) }));
            }
        });
        Self { address, counts, _task: task }
    }

    /// Answers every request properly.
    async fn proper() -> Self {
        Self::start(|mut exchange| async move {
            while exchange.request().await.is_some() {
                exchange.answer(OK).await;
            }
        })
        .await
    }

    fn client(&self) -> Client {
        client_for(&[self.address.to_string()])
    }

    fn get(&self) -> Request<Empty<Bytes>> {
        get(&format!("http://{}/", self.address))
    }
}

fn client_for(hosts: &[String]) -> Client {
    Client::new(ClientConfig { allowed_hosts: hosts.to_vec(), ..ClientConfig::default() }).unwrap()
}

fn get(uri: &str) -> Request<Empty<Bytes>> {
    Request::get(uri).body(Empty::new()).unwrap()
}

async fn text(response: Response<Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test]
async fn a_granted_host_answers_on_one_connection() {
    let far = Far::proper().await;
    let client = far.client();
    for _ in 0..3 {
        let response = within(client.send(far.get(), LONG)).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(text(response).await, "ok");
        // The connection is free again once its task has seen the end of the answer.
        tokio::task::yield_now().await;
    }
    assert_eq!(far.counts.requests(), 3);
    assert_eq!(far.counts.connections(), 1);
}

#[tokio::test]
async fn another_host_is_not_even_connected_to() {
    let (far, granted) = (Far::proper().await, Far::proper().await);
    let error = granted.client().send(far.get(), LONG).await.unwrap_err();
    assert!(matches!(&error, ClientError::Refused(host) if *host == far.address.to_string()), "{error}");
    assert!(!error.may_have_been_sent());
    let error = granted.client().send(get("/relative"), LONG).await.unwrap_err();
    assert!(matches!(error, ClientError::InvalidRequest(_)));
    assert_eq!((far.counts.connections(), granted.counts.connections()), (0, 0));
}

#[tokio::test]
async fn the_host_header_is_that_of_the_uri() {
    let far = Far::start(|mut exchange| async move {
        let head = exchange.request().await.unwrap().to_ascii_lowercase();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{head}", head.len());
        exchange.answer(answer.as_bytes()).await;
    })
    .await;
    let mut request = far.get();
    for (name, value) in [("host", "other.example"), ("connection", "x-mine"), ("x-mine", "1"), ("x-kept", "2")] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let head = text(within(far.client().send(request, LONG)).await.unwrap()).await;
    assert!(head.contains(&format!("host: {}\r\n", far.address)) && head.contains("x-kept: 2"), "{head}");
    assert!(!head.contains("other.example") && !head.contains("x-mine"), "{head}");
}

#[tokio::test]
async fn what_was_surely_not_sent() {
    // Nobody listens here any more.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error =
        within(client_for(&[closed.to_string()]).send(get(&format!("http://{closed}/")), LONG)).await.unwrap_err();
    assert!(matches!(error, ClientError::Connect(_)), "{error:?}");
    assert!(!error.may_have_been_sent());

    // Accepts and is silent, so the TLS handshake never ends.
    let far = Far::start(|exchange| async move {
        std::future::pending::<()>().await;
        drop(exchange);
    })
    .await;
    let timeouts = Timeouts { connect: SHORT, ..LONG };
    let error = within(far.client().send(get(&format!("https://{}/", far.address)), timeouts)).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout(Phase::Connect)), "{error:?}");
    assert!(!error.may_have_been_sent());

    // Speaks no TLS.
    let far = Far::start(|mut exchange| async move {
        exchange.answer(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let _ = exchange.stream.read_u8().await;
    })
    .await;
    let error = within(far.client().send(get(&format!("https://{}/", far.address)), LONG)).await.unwrap_err();
    assert!(matches!(error, ClientError::Tls(_)), "{error:?}");
    assert!(!error.may_have_been_sent());
}

#[tokio::test]
async fn what_may_have_been_sent() {
    let silent = Far::start(|mut exchange| async move {
        exchange.request().await;
        std::future::pending::<()>().await;
    })
    .await;
    let timeouts = Timeouts { first_byte: SHORT, ..LONG };
    let error = within(silent.client().send(silent.get(), timeouts)).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout(Phase::FirstByte)), "{error:?}");
    assert!(error.may_have_been_sent());

    let hanging_up = Far::start(|mut exchange| async move {
        exchange.request().await;
    })
    .await;
    let error = within(hanging_up.client().send(hanging_up.get(), LONG)).await.unwrap_err();
    assert!(matches!(error, ClientError::Closed(_)), "{error:?}");
    assert!(error.may_have_been_sent());
    assert_eq!(hanging_up.counts.requests(), 1, "no retry");

    let babbling = Far::start(|mut exchange| async move {
        exchange.request().await;
        exchange.answer(b"nonsense\r\n\r\n").await;
    })
    .await;
    let error = within(babbling.client().send(babbling.get(), LONG)).await.unwrap_err();
    assert!(matches!(error, ClientError::Protocol(_)), "{error:?}");
    assert!(error.may_have_been_sent());
}

// Goal: a request that was written on a reused connection is not written again when that connection ends.
#[tokio::test]
async fn nothing_is_sent_twice() {
    let far = Far::start(|mut exchange| async move {
        exchange.request().await;
        exchange.answer(OK).await;
        exchange.request().await;
        // The second is read and never answered: it may have been processed.
    })
    .await;
    let client = far.client();
    assert_eq!(text(within(client.send(far.get(), LONG)).await.unwrap()).await, "ok");
    // Wait until the connection is the pool's again, so that the second request reuses it.
    tokio::task::yield_now().await;
    let request =
        Request::post(format!("http://{}/", far.address)).body(Full::new(Bytes::from_static(b"pay"))).unwrap();
    let error = within(client.send(request, LONG)).await.unwrap_err();
    assert!(matches!(error, ClientError::Closed(_)), "{error:?}");
    assert_eq!(far.counts.requests(), 2);
    assert_eq!(far.counts.connections(), 1, "it was the reused one");
}

// Goal: an idle connection that the far side has closed is not a failure of the next request.
#[tokio::test]
async fn a_closed_idle_connection_is_replaced() {
    let far = Far::start(|mut exchange| async move {
        exchange.request().await;
        exchange.answer(OK).await;
    })
    .await;
    let client = far.client();
    for round in 1..=20 {
        assert_eq!(text(within(client.send(far.get(), LONG)).await.unwrap()).await, "ok", "{round}");
        // The close must be known to the client's side of the socket; how soon its task sees it is what varies.
        if round % 2 == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(far.counts.requests(), 20);
}

#[tokio::test]
async fn a_stalled_body_is_given_up() {
    let far = Far::start(|mut exchange| async move {
        exchange.request().await;
        exchange.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await;
        std::future::pending::<()>().await;
    })
    .await;
    let response = within(far.client().send(far.get(), LONG)).await.unwrap();
    let mut body = TimedBody::new(response.into_body(), SHORT);
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
    let error = within(body.frame()).await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Timeout(Phase::BetweenBytes)), "{error:?}");
}

#[tokio::test]
async fn the_configuration_caps_the_caller() {
    let config = ClientConfig { allowed_hosts: vec!["a".into()], first_byte_timeout_ms: 7, ..ClientConfig::default() };
    assert_eq!(Client::new(config).unwrap().cap(LONG).first_byte, Duration::from_millis(7));
}

// Goal: a host never gets more connections than its limit; what is over it waits for one to be free.
#[tokio::test]
async fn connections_are_limited() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let far = Far::start(move |mut exchange| {
        let gate = Arc::clone(&opened);
        async move {
            while exchange.request().await.is_some() {
                gate.acquire().await.unwrap().forget();
                exchange.answer(OK).await;
            }
        }
    })
    .await;
    let config = ClientConfig {
        allowed_hosts: vec![far.address.to_string()],
        max_connections_per_host: 2,
        ..ClientConfig::default()
    };
    let client = Client::new(config).unwrap();
    let mut sending = JoinSet::new();
    for _ in 0..6 {
        let (client, request) = (client.clone(), far.get());
        sending.spawn(async move { text(client.send(request, LONG).await.unwrap()).await });
    }
    eventually("both places are used", || far.counts.requests() == 2).await;
    gate.add_permits(6);
    while let Some(answer) = within(sending.join_next()).await {
        assert_eq!(answer.unwrap(), "ok");
    }
    assert_eq!(far.counts.requests(), 6);
    assert!(far.counts.connections() <= 2, "{}", far.counts.connections());
}
