//! Both ends on a real server of the lattice, with real components. Ignored, because they need what `cargo test` does not build:
//! `SWIFTCART_NATS_SERVER=<program> SWIFTCART_GUESTS_ROOT=<folder of `cargo xtask build --guests`> cargo test --release --workspace --lib --
//! lattice::rpc --ignored`; `SWIFTCART_WASH=<program>` for the last.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Client;
use bytes::Bytes;
use futures::StreamExt as _;
use rand::SeedableRng as _;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Linker, Val};

use super::{NatsRemote, Server};
use crate::capability;
use crate::link::{Remote as _, Way};
use crate::manifest::{Interface, Reuse, RuntimeOptions};
use crate::runtime::{Artifact, Artifacts, CallContext, CallError, Component, Engine, Guest, Slot, TraceContext};

const ECHO: &str = "test:calls/echo@0.1.0";
const LATTICE: &str = "test";

/// A server that ends with the test.
struct Nats(Child, u16);

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Nats {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut command = Command::new(std::env::var_os("SWIFTCART_NATS_SERVER").unwrap());
        command.args(["-a", "127.0.0.1", "-p", &port.to_string()]).stderr(Stdio::null());
        Self(command.spawn().unwrap(), port)
    }

    async fn connect(&self) -> Client {
        async_nats::ConnectOptions::new().max_reconnects(100).connect(format!("127.0.0.1:{}", self.1)).await.unwrap()
    }

    async fn client(&self) -> Client {
        let end = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", self.1)).is_err() {
            assert!(Instant::now() < end, "the server does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.connect().await
    }
}

/// Built-ins without their clients, and other components as traps. (wasmtime's own function for unknown imports would shadow what is ambient
/// in another patch version.)
fn define_the_rest(engine: &Engine, linker: &mut Linker<Guest>, artifact: &Artifact) {
    for (import, item) in artifact.component.component_type().imports(engine.wasmtime()) {
        let ComponentItem::ComponentInstance(instance) = item.ty else { continue };
        let interface = Interface::parse(import).unwrap();
        if capability::is_ambient(&interface) || capability::add_granted(linker, &interface).is_ok() {
            continue;
        }
        let mut defined = linker.instance(import).unwrap();
        for (name, item) in instance.exports(engine.wasmtime()) {
            if let ComponentItem::ComponentFunc(_) = item.ty {
                defined.func_new(name, |_, _, _, _| Err(wasmtime::Error::msg("not linked"))).unwrap();
            }
        }
    }
}

fn component(engine: &Engine, file: &str, name: &str, max_instances: u32) -> Component {
    let root = PathBuf::from(std::env::var_os("SWIFTCART_GUESTS_ROOT").unwrap());
    let artifact = Artifacts::new(engine.clone(), root, None).load(file.as_ref()).unwrap();
    let mut linker = Linker::new(engine.wasmtime());
    capability::add_ambient(&mut linker).unwrap();
    define_the_rest(engine, &mut linker, &artifact);
    let template = linker.instantiate_pre(&artifact.component).unwrap();
    let options = RuntimeOptions {
        reuse: Reuse::Fresh,
        max_instances,
        queue_limit: 1,
        queue_timeout: Duration::from_millis(200),
        memory_limit_bytes: 64 << 20,
        execution_timeout: Duration::from_secs(20),
    };
    Component::new(engine.clone(), name, artifact, template, Arc::default(), options)
}

/// One lattice with `echo` served on one connection and called over another.
struct Stage {
    nats: Nats,
    engine: Engine,
    slot: Arc<Slot>,
    server: Server,
    remote: Arc<NatsRemote>,
}

impl Stage {
    async fn new(max_instances: u32) -> Self {
        let (nats, engine) = (Nats::start(), Engine::new().unwrap());
        let slot = Arc::new(Slot::empty("echo"));
        slot.install(Arc::new(component(&engine, "echo.wasm", "echo", max_instances)));
        let server = Server::new(nats.client().await, LATTICE);
        server.serve("echo", slot.clone()).await.unwrap();
        let remote = Arc::new(NatsRemote::new(nats.client().await, LATTICE));
        Self { nats, engine, slot, server, remote }
    }

    fn way(&self, function: &str) -> Way {
        let component = self.slot.current().unwrap();
        let ty = component.function_type(ECHO, function).unwrap();
        Way {
            source: "caller".to_owned(),
            target: "echo".to_owned(),
            link: "default".to_owned(),
            interface: ECHO.to_owned(),
            function: function.to_owned(),
            params: ty.params().map(|(_, ty)| ty).collect(),
            results: ty.results().collect(),
        }
    }

    async fn call_in(&self, function: &str, params: &[Val], timeout: Duration) -> Result<Val, CallError> {
        self.call_way(&self.way(function), params, CallContext::new(TraceContext::root(), timeout)).await
    }

    async fn call_way(&self, way: &Way, params: &[Val], call: CallContext) -> Result<Val, CallError> {
        let mut results = vec![Val::Bool(false); way.results.len()];
        self.remote.call(way, params, &mut results, call).await?;
        Ok(results.remove(0))
    }

    async fn call(&self, function: &str, params: &[Val]) -> Result<Val, CallError> {
        self.call_in(function, params, Duration::from_secs(10)).await
    }
}

fn text(text: &str) -> Val {
    Val::String(text.to_owned())
}

fn conduct(case: &str, payload: Option<Val>) -> Val {
    Val::Variant(case.to_owned(), payload.map(Box::new))
}

fn join(left: &str) -> [Val; 3] {
    [text(left), Val::Option(None), Val::U8(1)]
}

/// Goal: every type passes in both directions. Method: drawn values of a record of everything, given back by the callee.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a NATS server and the guests; cargo xtask test contract runs it"]
async fn every_type_passes() {
    let stage = Stage::new(4).await;
    let ty = stage.way("same").params[0].clone();
    let mut random = rand::rngs::StdRng::seed_from_u64(4);
    for _ in 0..200 {
        let value = super::codec::tests::draw(&ty, &mut random);
        assert_eq!(stage.call("same", std::slice::from_ref(&value)).await.unwrap(), value);
    }
}

/// Goal: parameters and results need not fit into one message, and what is too large is refused before it is sent. Method: 3 MiB against
/// the server's limit of 1 MiB, as text and as bytes with several calls at once; then 9 MiB.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a NATS server and the guests; cargo xtask test contract runs it"]
async fn large_values_pass() {
    let stage = Stage::new(8).await;
    let large = "0123456789abcdef".repeat(3 << 16);
    let (params, small) = (join(&large), join("small"));
    let calls = (0..8).map(|number| stage.call("join", if number % 2 == 0 { &params } else { &small }));
    for (number, answer) in futures::future::join_all(calls).await.into_iter().enumerate() {
        let expected = if number % 2 == 0 { large.as_str() } else { "small" };
        assert!(answer.unwrap() == text(expected), "call {number}");
    }
    let error = stage.call("join", &join(&"x".repeat(9 << 20))).await.unwrap_err();
    assert!(matches!(error, CallError::Overloaded { .. }) && !error.may_have_acted(), "{error}");
    let ten_times = [text(&"x".repeat(1 << 20)), Val::Option(None), Val::U8(10)];
    let error = stage.call("join", &ten_times).await.unwrap_err();
    assert!(matches!(error, CallError::Lost { .. }), "{error}");
}

/// Goal: a failure over there is the same failure here. Method: every way to fail, once where the contract has a word for it, once not.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a NATS server and the guests; cargo xtask test contract runs it"]
async fn failures_are_typed() {
    let stage = Stage::new(1).await;
    let Val::Result(Err(Some(told))) = stage.call("with-words", &[conduct("trap", None)]).await.unwrap() else {
        panic!("a trap is told as an error")
    };
    assert!(matches!(*told, Val::Variant(ref case, _) if case == "uncertain"), "{told:?}");
    let error = stage.call("without-words", &[conduct("trap", None)]).await.unwrap_err();
    assert!(matches!(error, CallError::Trap { ref component, .. } if component == "echo"), "{error}");

    let began = Instant::now();
    let error = stage.call_in("without-words", &[conduct("spin", None)], Duration::from_millis(300)).await.unwrap_err();
    assert!(matches!(error, CallError::DeadlineExceeded { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(2));

    // One instance and a queue of one: of three calls at once the last is refused.
    let wait = [conduct("wait", Some(Val::U32(1_000)))];
    let outcomes = futures::future::join_all((0..3).map(|_| stage.call("without-words", &wait))).await;
    let refused = |outcome: &Result<Val, CallError>| matches!(outcome, Err(CallError::Overloaded { reason, .. }) if *reason != "it is busy");
    assert!(outcomes.iter().any(refused), "{outcomes:?}");

    let mut nobody = stage.way("uses");
    nobody.target = "nobody".to_owned();
    let began = Instant::now();
    let error =
        stage.call_way(&nobody, &[], CallContext::new(TraceContext::root(), Duration::from_secs(9))).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(1));

    let deep = CallContext { depth: 9, ..CallContext::new(TraceContext::root(), Duration::from_secs(9)) };
    let error = stage.call_way(&stage.way("uses"), &[], deep).await.unwrap_err();
    assert!(matches!(error, CallError::TooDeep), "{error}");
}

/// Goal: bytes of other types do not reach the component. Method: a caller with another idea of the parameters.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a NATS server and the guests; cargo xtask test contract runs it"]
async fn misfitting_parameters_are_refused() {
    let stage = Stage::new(1).await;
    let mut way = stage.way("with-words");
    way.params = stage.way("join").params;
    let call = CallContext::new(TraceContext::root(), Duration::from_secs(9));
    let answer = stage.call_way(&way, &join("not a conduct"), call).await.unwrap();
    assert!(
        matches!(answer, Val::Result(Err(Some(ref told))) if matches!(**told, Val::Variant(ref case, _) if case == "unavailable")),
        "{answer:?}"
    );
}

/// Goal: a callee that is silent, or closes without an answer, is told as what it is. Method: a peer that speaks by hand.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a NATS server and the guests; cargo xtask test contract runs it"]
async fn silent_callees_do_not_hang_the_caller() {
    let stage = Stage::new(1).await;
    let peer = stage.nats.client().await;
    for closes in [false, true] {
        let id = format!("peer-{closes}");
        let mut calls = peer.subscribe(format!("{LATTICE}.{id}.wrpc.0.0.1.{ECHO}.uses")).await.unwrap();
        // The server answers this itself, after it has taken the subscription.
        peer.request("nobody", Bytes::new()).await.unwrap_err();
        let answer = async {
            let call = calls.next().await.unwrap();
            assert_eq!(call.headers.as_ref().unwrap().get("source-id").unwrap().as_str(), "caller");
            assert_eq!(call.headers.as_ref().unwrap().get("link-name").unwrap().as_str(), "default");
            let caller = call.reply.unwrap();
            peer.publish_with_reply(caller.clone(), peer.new_inbox(), Bytes::new()).await.unwrap();
            if closes {
                peer.publish(format!("{caller}.results"), Bytes::new()).await.unwrap();
            }
        };
        let way = Way { target: id, ..stage.way("uses") };
        let call = CallContext::new(TraceContext::root(), Duration::from_millis(500));
        let both = async { tokio::join!(stage.call_way(&way, &[], call), answer) };
        let (outcome, ()) = tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
        let error = outcome.unwrap_err();
        let expected = if closes { "lost" } else { "deadline" };
        assert_eq!(error.class(), expected, "{error}");
        assert!(error.may_have_acted());
    }
}

/// Goal: the trace goes on. Method: the callee tells the trace it sees.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a NATS server and the guests; cargo xtask test contract runs it"]
async fn the_trace_goes_on() {
    let stage = Stage::new(1).await;
    let call = CallContext::new(TraceContext::root(), Duration::from_secs(9));
    let Val::String(seen) = stage.call_way(&stage.way("trace"), &[], call.clone()).await.unwrap() else {
        panic!("text")
    };
    assert!(seen.contains(&call.trace.trace_id()), "{seen}");
}

/// Goal: no call fails while versions are put in place and served anew; after stopping, running calls are answered and new ones find nobody.
/// Method: callers without pause during 20 swaps; then a slow call while it stops.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a NATS server and the guests; cargo xtask test contract runs it"]
async fn swaps_have_no_gap_and_stopping_drains() {
    let stage = Arc::new(Stage::new(64).await);
    let done = tokio_util::sync::CancellationToken::new();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (stage, done) = (stage.clone(), done.clone());
            tokio::spawn(async move {
                let mut count = 0_u32;
                while !done.is_cancelled() {
                    assert_eq!(stage.call("join", &join("x")).await.unwrap(), text("x"));
                    count += 1;
                }
                count
            })
        })
        .collect();
    for _ in 0..20 {
        // Compiling takes a thread for itself: calls that were due on this one would wait for it, and have no time for that on a busy machine.
        let next = tokio::task::block_in_place(|| component(&stage.engine, "echo.wasm", "echo", 64));
        stage.slot.install(Arc::new(next));
        stage.server.serve("echo", stage.slot.clone()).await.unwrap();
    }
    done.cancel();
    let mut count = 0;
    for caller in callers {
        count += caller.await.unwrap();
    }
    assert!(count > 100, "{count}");

    let slow = tokio::spawn({
        let stage = stage.clone();
        async move { stage.call("without-words", &[conduct("wait", Some(Val::U32(500)))]).await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(stage.server.stop("echo").await);
    let answer = slow.await.unwrap();
    assert!(matches!(answer, Ok(Val::Result(Ok(_)))), "{answer:?}");
    assert!(matches!(stage.call("uses", &[]).await, Err(CallError::Unreachable { .. })));
    assert!(!stage.server.stop("echo").await);
}

/// Goal: when another component takes the place, what it does not have is dropped and what is new is served. Method: `probe` after `echo`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a NATS server and the guests; cargo xtask test contract runs it"]
async fn vanished_functions_are_dropped() {
    let stage = Stage::new(4).await;
    let way = stage.way("uses");
    stage.slot.install(Arc::new(component(&stage.engine, "probe.wasm", "echo", 4)));
    stage.server.serve("echo", stage.slot.clone()).await.unwrap();
    let call = CallContext::new(TraceContext::root(), Duration::from_secs(5));
    let error = stage.call_way(&way, &[], call).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
}

/// Goal: the stock client reaches a component's HTTP over the lattice. Method: `wash call` with a body, against `probe`, which tells the
/// request as it sees it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a NATS server, the guests and wash; cargo xtask test lattice runs it"]
async fn wash_calls_http() {
    let stage = Stage::new(4).await;
    let slot = Arc::new(Slot::empty("probe"));
    slot.install(Arc::new(component(&stage.engine, "probe.wasm", "probe", 4)));
    stage.server.serve("probe", slot).await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let wash = |extra: &[&str]| {
        let mut command = tokio::process::Command::new(std::env::var_os("SWIFTCART_WASH").unwrap());
        command.env("HOME", home.path()).env("WASH_EXPERIMENTAL", "false").args(["call", "--lattice", LATTICE]);
        command.args(["--rpc-host", "127.0.0.1", "--rpc-port", &stage.nats.1.to_string(), "--rpc-timeout-ms", "5000"]);
        command.args(["--output", "json"]).args(extra).args(["probe", "wasi:http/incoming-handler.handle"]);
        command
    };
    for (body, length) in [("", 0), ("hello", 5)] {
        let extra = ["--http-method", "POST", "--http-host", "shop.example", "--http-body", body];
        let output = wash(&extra).kill_on_drop(true).output();
        let output = tokio::time::timeout(Duration::from_secs(30), output).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).replace('\\', "");
        assert!(output.status.success(), "{text} {}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains("\"method\":\"POST\"") && text.contains(&format!("\"bodyLength\":{length}")), "{text}");
    }
}
