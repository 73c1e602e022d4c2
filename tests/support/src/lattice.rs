//! A test's own eyes and hands on a lattice: the control interface, the stored state and the events, without any program in between.
//! Invariant: nothing here is more clever than the protocol, so that what a test sees is what the host said.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, ensure};
use async_nats::jetstream;
use async_nats::jetstream::kv::Store;
use futures::StreamExt as _;
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;

use crate::eventually;

/// How long the hosts of a lattice may take to answer a ping; all that answered by then are all there are.
const GATHER: Duration = Duration::from_millis(500);
/// For one question to one host.
const ANSWER: Duration = Duration::from_secs(5);

/// A lattice on a NATS server; cheap to clone.
#[derive(Clone, Debug)]
pub struct Lattice {
    client: async_nats::Client,
    name: String,
}

impl Lattice {
    /// Connects.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn connect(nats_url: &str, name: &str) -> anyhow::Result<Self> {
        let client = async_nats::connect(nats_url).await.with_context(|| format!("connecting to {nats_url}"))?;
        Ok(Self { client, name: name.to_owned() })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The connection, for what is not foreseen here.
    #[must_use]
    pub fn client(&self) -> &async_nats::Client {
        &self.client
    }

    /// One request to any subject; the answer as JSON.
    ///
    /// # Errors
    /// When nobody answers in time, or not in JSON.
    pub async fn request(&self, subject: String, body: &Value) -> anyhow::Result<Value> {
        let body = if body.is_null() { Vec::new() } else { serde_json::to_vec(body)? };
        let asked = tokio::time::timeout(ANSWER, self.client.request(subject.clone(), body.into())).await;
        let answer = asked.with_context(|| format!("no answer to {subject}"))?.with_context(|| subject.clone())?;
        serde_json::from_slice(&answer.payload).with_context(|| format!("the answer to {subject} is not JSON"))
    }

    /// A request of the control interface: `("host.get.<id>", null)`.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub async fn control(&self, operation: &str, body: &Value) -> anyhow::Result<Value> {
        self.request(format!("wasmbus.ctl.v1.{}.{operation}", self.name), body).await
    }

    /// What a control request gave, if it succeeded.
    async fn answered(&self, operation: &str) -> anyhow::Result<Value> {
        let mut answer = self.control(operation, &Value::Null).await?;
        ensure!(succeeded(&answer), "{operation} gives {answer}");
        Ok(answer.get_mut("response").map(Value::take).unwrap_or_default())
    }

    /// All hosts that answer a ping.
    ///
    /// # Errors
    /// When the server is away.
    pub async fn hosts(&self) -> anyhow::Result<Vec<Value>> {
        let mut hosts = Vec::new();
        self.ping(|host| {
            hosts.push(host);
            false
        })
        .await?;
        Ok(hosts)
    }

    /// True as soon as this host answers a ping.
    pub(crate) async fn ping_until(&self, id: &str) -> anyhow::Result<bool> {
        self.ping(|host| host.get("id").and_then(Value::as_str) == Some(id)).await
    }

    /// Pings; ends early when an answer is the one that is waited for.
    async fn ping(&self, mut enough: impl FnMut(Value) -> bool) -> anyhow::Result<bool> {
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await?;
        let subject = format!("wasmbus.ctl.v1.{}.host.ping", self.name);
        self.client.publish_with_reply(subject, inbox, Vec::new().into()).await?;
        self.client.flush().await?;
        let end = tokio::time::Instant::now() + GATHER;
        while let Ok(Some(answer)) = tokio::time::timeout_at(end, answers.next()).await {
            // Without any host the server itself answers, without a body.
            let Ok(mut answer) = serde_json::from_slice::<Value>(&answer.payload) else { continue };
            if enough(answer.get_mut("response").map(Value::take).unwrap_or_default()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What a host says that it runs.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn inventory(&self, host: &str) -> anyhow::Result<Value> {
        self.answered(&format!("host.get.{host}")).await
    }

    /// All links.
    ///
    /// # Errors
    /// When no host answers.
    pub async fn links(&self) -> anyhow::Result<Vec<Value>> {
        match self.answered("link.get").await? {
            Value::Array(links) => Ok(links),
            other => anyhow::bail!("link.get gives no list: {other}"),
        }
    }

    async fn bucket(&self, stem: &str) -> anyhow::Result<Store> {
        let bucket = format!("{stem}_{}", self.name);
        let context = jetstream::new(self.client.clone());
        context.get_key_value(&bucket).await.with_context(|| format!("opening the bucket {bucket}"))
    }

    /// What hosts store about a component or provider, or of links from it.
    ///
    /// # Errors
    /// When the bucket is not there.
    pub async fn stored_component(&self, id: &str) -> anyhow::Result<Option<Value>> {
        let found = self.bucket("LATTICEDATA").await?.get(format!("COMPONENT_{id}")).await?;
        found.map(|bytes| serde_json::from_slice(&bytes).context("a stored component is not JSON")).transpose()
    }

    /// A stored configuration.
    ///
    /// # Errors
    /// When the bucket is not there.
    pub async fn stored_config(&self, name: &str) -> anyhow::Result<Option<Value>> {
        let found = self.bucket("CONFIGDATA").await?.get(name).await?;
        found.map(|bytes| serde_json::from_slice(&bytes).context("a stored config is not JSON")).transpose()
    }

    /// Stores a configuration by way of a host. Manifests that name it without values must find it.
    ///
    /// # Errors
    /// When no host takes it.
    pub async fn put_config(&self, name: &str, pairs: &[(&str, &str)]) -> anyhow::Result<()> {
        let pairs: Map<String, Value> = pairs.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        let answer = self.control(&format!("config.put.{name}"), &Value::Object(pairs)).await?;
        ensure!(succeeded(&answer), "config.put.{name} gives {answer}");
        Ok(())
    }

    /// A request of wadm's interface: `("put", manifest)`, `("status.shop", null)`.
    ///
    /// # Errors
    /// When wadm does not answer.
    pub async fn model(&self, operation: &str, body: &Value) -> anyhow::Result<Value> {
        self.request(format!("wadm.api.{}.model.{operation}", self.name), body).await
    }

    /// The applications that wadm knows.
    ///
    /// # Errors
    /// When wadm does not answer.
    pub async fn applications(&self) -> anyhow::Result<Vec<Value>> {
        let answer = self.model("get", &Value::Null).await?;
        let models = answer.get("models").and_then(Value::as_array).cloned();
        models.with_context(|| format!("wadm gives no list: {answer}"))
    }

    /// The state of an application in wadm's words: `deployed`, `reconciling`, `failed`, `undeployed` and so on.
    ///
    /// # Errors
    /// When wadm does not answer or does not know it.
    pub async fn status(&self, application: &str) -> anyhow::Result<String> {
        let answer = self.model(&format!("status.{application}"), &Value::Null).await?;
        let status = answer.pointer("/status/status/type");
        Ok(status.and_then(Value::as_str).with_context(|| format!("no status: {answer}"))?.to_owned())
    }

    /// Writes down all events from now on.
    ///
    /// # Errors
    /// When the server is away.
    pub async fn record(&self) -> anyhow::Result<Recorder> {
        let mut messages = self.client.subscribe(format!("wasmbus.evt.{}.>", self.name)).await?;
        // The server knows of the subscription before anything that the caller does next.
        self.client.flush().await?;
        let events = Arc::new(Mutex::new(Vec::new()));
        let heard = events.clone();
        let task = tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                let event = Event::read(&message);
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(event);
            }
        });
        Ok(Recorder { events, task })
    }
}

/// Every answer of the control interface says both.
fn succeeded(answer: &Value) -> bool {
    answer.get("success") == Some(&Value::Bool(true)) && answer.get("message").is_some_and(Value::is_string)
}

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Last token of the subject: `component_scaled`.
    pub name: String,
    /// The whole CloudEvent; null if it is not JSON.
    pub whole: Value,
}

impl Event {
    fn read(message: &async_nats::Message) -> Self {
        let name = message.subject.rsplit('.').next().unwrap_or_default().to_owned();
        Self { name, whole: serde_json::from_slice(&message.payload).unwrap_or_default() }
    }

    /// What it says.
    #[must_use]
    pub fn data(&self) -> &Value {
        self.whole.get("data").unwrap_or(&Value::Null)
    }

    /// Whether its data has this member with this value.
    #[must_use]
    pub fn says(&self, member: &str, value: impl Into<Value>) -> bool {
        self.data().get(member) == Some(&value.into())
    }
}

/// Writes down events until it is dropped.
#[derive(Debug)]
pub struct Recorder {
    events: Arc<Mutex<Vec<Event>>>,
    task: JoinHandle<()>,
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Recorder {
    /// Everything so far, in order of arrival.
    #[must_use]
    pub fn all(&self) -> Vec<Event> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A place in the record, for [`Self::after`] and [`Self::wait`].
    #[must_use]
    pub fn mark(&self) -> usize {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What came after a mark.
    #[must_use]
    pub fn after(&self, mark: usize) -> Vec<Event> {
        self.all().split_off(mark.min(self.mark()))
    }

    /// Waits for an event of this name after the mark.
    ///
    /// # Errors
    /// At the deadline, with what came instead.
    pub async fn wait(
        &self,
        mark: usize,
        deadline: Duration,
        name: &str,
        matches: impl Fn(&Event) -> bool,
    ) -> anyhow::Result<Event> {
        eventually(deadline, &format!("the event {name}"), || {
            let came = self.after(mark);
            let found = came.iter().find(|event| event.name == name && matches(event)).cloned();
            let instead = || came.iter().map(|event| format!("{} {}", event.name, event.data())).collect::<Vec<_>>();
            std::future::ready(found.with_context(|| format!("came instead: {:?}", instead())))
        })
        .await
    }
}
