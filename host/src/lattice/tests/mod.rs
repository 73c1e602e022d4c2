//! The control plane against a real NATS server, with a workload that only writes down what it is told. Each test has a server of its own.
//! They need the server's program, so `cargo xtask test contract` runs them; by hand: `SWIFTCART_NATS_SERVER=/path/to/nats-server cargo test
//! --release --workspace --lib -- --ignored lattice::tests`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

mod commands;
mod data;
mod login;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::Client;
use async_trait::async_trait;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::NatsServer;
use crate::manifest::{CapabilityPlan, ComponentPlan, LinkPlan, MapSecrets};
use crate::runtime::Slot;
use crate::workload::{ChangeError, Started};

const LONG: Duration = Duration::from_secs(10);

/// A server that ends with the test.
struct Server {
    process: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    async fn start() -> Self {
        Self::with_settings("").await
    }

    /// A server with lines of its own in its configuration file.
    async fn with_settings(more: &str) -> Self {
        let program =
            std::env::var("SWIFTCART_NATS_SERVER").expect("SWIFTCART_NATS_SERVER names the nats-server program");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nats.conf");
        let store = folder.path().display();
        let settings = format!("listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{store}\" }}\n{more}");
        std::fs::write(&file, settings).unwrap();
        let process = Command::new(program).arg("-c").arg(file).stderr(Stdio::null()).spawn().unwrap();
        Self { process, url: format!("nats://127.0.0.1:{port}"), _folder: folder }
    }

    async fn client(&self) -> Client {
        let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
        let client = options.connect(&self.url).await.unwrap();
        client.flush().await.unwrap();
        client
    }
}

/// Writes down what it is told; fails where told to.
#[derive(Default)]
struct Work {
    log: Mutex<Vec<String>>,
    plans: Mutex<BTreeMap<String, ComponentPlan>>,
    capabilities: Mutex<BTreeMap<String, CapabilityPlan>>,
    links: Mutex<Vec<LinkPlan>>,
}

impl Work {
    fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    fn config(&self, id: &str) -> Vec<(String, String)> {
        self.plans.lock().unwrap().get(id).map(|plan| plan.config.pairs().collect()).unwrap_or_default()
    }
}

#[async_trait]
impl ports::Work for Work {
    async fn start(&self, plan: ComponentPlan) -> Result<Started, ChangeError> {
        let image = plan.image.to_string();
        if image.contains("bad") {
            return Err(ChangeError::Refused(vec![format!("{image} has no export")]));
        }
        if image.contains("slow") {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        self.log.lock().unwrap().push(format!("start {image} x{}", plan.runtime.max_instances));
        let before = self.plans.lock().unwrap().insert(plan.id.clone(), plan);
        let replaced = before.map(|before| before.image.to_string()).filter(|before| *before != image);
        Ok(Started { unchanged: replaced.is_none(), digest: image, replaced })
    }

    async fn stop(&self, id: &str) -> bool {
        self.log.lock().unwrap().push(format!("stop {id}"));
        self.plans.lock().unwrap().remove(id).is_some()
    }

    async fn put_capability(&self, plan: CapabilityPlan) -> Result<(), ChangeError> {
        if plan.kind.as_str() == "none" {
            return Err(ChangeError::Settings("this host has no such capability".into()));
        }
        self.capabilities.lock().unwrap().insert(plan.id.clone(), plan);
        Ok(())
    }

    async fn remove_capability(&self, id: &str) -> bool {
        self.capabilities.lock().unwrap().remove(id).is_some()
    }

    async fn set_links(&self, links: Vec<LinkPlan>) -> Vec<(String, ChangeError)> {
        *self.links.lock().unwrap() = links;
        Vec::new()
    }

    fn slot(&self, _: &str) -> Option<Arc<Slot>> {
        None
    }

    async fn drain(&self, _: Duration) {
        self.log.lock().unwrap().push("drain".into());
    }
}

/// A host that is a member of the lattice.
struct Host {
    id: String,
    nats: Client,
    work: Arc<Work>,
    notices: broadcast::Sender<Notice>,
    stop: CancellationToken,
    task: JoinHandle<Result<(), LatticeError>>,
}

impl Host {
    async fn join(server: &Server) -> Self {
        Self::join_as(config(&server.url)).await
    }

    async fn join_as(config: LatticeConfig) -> Self {
        let connections = Connections::open(&config, "test").await.unwrap();
        let nats = connections.control.clone();
        let identity = Identity::new(None, None).unwrap();
        let work = Arc::new(Work::default());
        let (notices, receiver) = broadcast::channel(8);
        let (ready, stop) = (CancellationToken::new(), CancellationToken::new());
        let secrets: MapSecrets = [("CARTS_URL", "postgres://hunter2")].into_iter().collect();
        let parts = Parts {
            work: work.clone(),
            calls: Arc::new(()),
            processes: None,
            registries: Arc::new(()),
            secrets: Arc::new(secrets),
            notices: receiver,
            ready: ready.clone(),
        };
        let id = identity.id.clone();
        let task = tokio::spawn({
            let stop = stop.clone();
            async move { run(&config, identity, connections, parts, stop).await }
        });
        tokio::time::timeout(LONG, ready.cancelled()).await.expect("member in time");
        Self { id, nats, work, notices, stop, task }
    }

    /// A request on the control interface.
    async fn ask(&self, subject: &str, body: Value) -> Value {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(&body).unwrap() };
        let answer = self.nats.request(format!("wasmbus.ctl.v1.default.{subject}"), body.into());
        let answer = tokio::time::timeout(Duration::from_secs(2), answer).await.expect("an answer in 2 s").unwrap();
        let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
        assert!(answer["message"].is_string(), "{answer}");
        answer
    }

    async fn accepted(&self, subject: &str, body: Value) {
        let answer = self.ask(subject, body.clone()).await;
        assert_eq!(answer["success"], json!(true), "{subject} {body}: {answer}");
    }

    async fn refused(&self, subject: &str, body: Value) -> String {
        let answer = self.ask(subject, body).await;
        assert_eq!(answer["success"], json!(false), "{subject}: {answer}");
        answer["message"].as_str().unwrap().to_owned()
    }

    async fn inventory(&self) -> Value {
        self.ask(&format!("host.get.{}", self.id), Value::Null).await["response"].clone()
    }

    async fn scale(&self, reference: &str, count: u32, scaler: &str) {
        self.scale_with(reference, count, scaler, &[]).await;
    }

    async fn scale_with(&self, reference: &str, count: u32, scaler: &str, configs: &[&str]) {
        let annotations = if scaler.is_empty() {
            json!({})
        } else {
            json!({"wasmcloud.dev/scaler": scaler, "wasmcloud.dev/appspec": "shop"})
        };
        let body = json!({
            "component_ref": reference, "component_id": "cart", "annotations": annotations, "count": count,
            "host_id": self.id, "config": configs, "allow_update": false,
        });
        self.accepted(&format!("component.scale.{}", self.id), body).await;
    }
}

fn config(url: &str) -> LatticeConfig {
    let server = NatsServer { url: url.to_owned(), ..NatsServer::default() };
    LatticeConfig {
        lattice: "default".into(),
        control_prefix: "wasmbus.ctl".into(),
        control: server.clone(),
        calls: server,
        js_domain: None,
        host_seed: None,
        friendly_name: None,
        labels: [("zone".to_owned(), "a".to_owned())].into(),
        heartbeat_interval: Duration::from_secs(60),
        rpc_timeout: Duration::from_secs(2),
        provider_shutdown_delay: Duration::from_millis(300),
        max_execution_time: Duration::from_secs(600),
        allow_file_load: true,
        oci_allow_latest: false,
        oci_allowed_insecure: Vec::new(),
        oci_credentials: None,
        artifact_root: ".".into(),
        migrations_root: None,
        cache_dir: ".".into(),
        admin_address: ([127, 0, 0, 1], 0).into(),
        admin_port_may_differ: true,
        drain_timeout: Duration::from_secs(2),
    }
}

/// Everything the lattice is told.
struct Events {
    subscriber: async_nats::Subscriber,
    skipped: Vec<String>,
}

impl Events {
    async fn listen(server: &Server) -> Self {
        let nats = server.client().await;
        let subscriber = nats.subscribe("wasmbus.evt.default.>").await.unwrap();
        control::round_trip(&nats).await.unwrap();
        Self { subscriber, skipped: Vec::new() }
    }

    /// The next event of this name; others are passed over.
    async fn next(&mut self, name: &str) -> Value {
        let until = tokio::time::Instant::now() + LONG;
        loop {
            let message = tokio::time::timeout_at(until, self.subscriber.next()).await;
            let message = message.unwrap_or_else(|_| panic!("no {name} in time, but {:?}", self.skipped)).unwrap();
            let event: Value = serde_json::from_slice(&message.payload).unwrap();
            let found = message.subject.rsplit('.').next().unwrap().to_owned();
            assert_eq!(event["type"], json!(format!("com.wasmcloud.lattice.{found}")));
            if found == name {
                return event["data"].clone();
            }
            self.skipped.push(found);
        }
    }

    /// The next scaled event, shortly.
    async fn scaled(&mut self) -> (String, u64, String) {
        let data = self.next("component_scaled").await;
        shown(&data)
    }
}

fn shown(data: &Value) -> (String, u64, String) {
    let scaler = data["annotations"]["wasmcloud.dev/scaler"].as_str().unwrap_or_default();
    (data["image_ref"].as_str().unwrap().into(), data["max_instances"].as_u64().unwrap(), scaler.into())
}

/// Waits until it is so.
async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let until = tokio::time::Instant::now() + LONG;
    while !check() {
        assert!(tokio::time::Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
