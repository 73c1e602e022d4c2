//! A wasmCloud provider on the unmodified public SDK that writes down everything its host tells it. Invariant: whatever the SDK hands over
//! is one line of the journal, in order of arrival; secrets appear by name and length only.
//!
//! It serves `test:journal/journal`: `read: func() -> string` answers the journal (one JSON object per line), `note: func(text: string)
//! -> string` answers `<source id> <link name> <greeting of that link> <text>`. Its config: `journal-file` (lines are appended there too),
//! `health` (`good`, `bad`, or `silent`: it never answers again, nor does it obey a shutdown), `crash-after-ms` (it exits with 3).

mod journal;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use futures::StreamExt as _;
use journal::Journal;
use serde_json::json;
use wasmcloud_provider_sdk::core::secrets::SecretValue;
use wasmcloud_provider_sdk::provider::WrpcClient;
use wasmcloud_provider_sdk::{
    HealthCheckRequest, HealthCheckResponse, LinkConfig, LinkDeleteInfo, Provider, ProviderConfigUpdate,
    ProviderInitConfig, get_connection, run_provider,
};
use wrpc_transport::ServeExt as _;

const INTERFACE: &str = "test:journal/journal";

#[derive(Clone, Default)]
struct Fixture {
    journal: Journal,
    health: Arc<Mutex<String>>,
    greetings: Arc<Mutex<HashMap<String, String>>>,
}

impl Fixture {
    fn configure(&self, config: &HashMap<String, String>) {
        if let Some(path) = config.get("journal-file") {
            self.journal.write_to(path);
        }
        let health = config.get("health").cloned().unwrap_or_default();
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    fn link(&self, event: &str, link: &LinkConfig<'_>) {
        self.journal.write(&json!({
            "event": event, "source": link.source_id, "target": link.target_id, "name": link.link_name,
            "config": link.config, "secrets": lengths(link.secrets), "package": link.wit_metadata.1,
        }));
    }

    fn unlink(&self, event: &str, link: &impl LinkDeleteInfo) {
        self.journal.write(&json!({
            "event": event, "source": link.get_source_id(), "target": link.get_target_id(), "name": link.get_link_name(),
        }));
    }

    fn note(&self, source: &str, link: &str, text: &str) -> String {
        let greetings = self.greetings.lock().unwrap_or_else(PoisonError::into_inner);
        let greeting = greetings.get(&format!("{source}/{link}")).map_or("(unlinked)", String::as_str);
        format!("{source} {link} {greeting} {text}")
    }
}

fn lengths(secrets: &HashMap<String, SecretValue>) -> HashMap<&str, usize> {
    let length = |value: &SecretValue| value.as_string().map(str::len).or_else(|| value.as_bytes().map(<[u8]>::len));
    secrets.iter().map(|(name, value)| (name.as_str(), length(value).unwrap_or_default())).collect()
}

impl Provider for Fixture {
    async fn init(&self, config: impl ProviderInitConfig) -> anyhow::Result<()> {
        let values = config.get_config();
        self.configure(values);
        let mut environment: Vec<String> = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into()).collect();
        environment.sort();
        self.journal.write(&json!({
            "event": "init", "id": config.get_provider_id(), "pid": std::process::id(), "config": values,
            "secrets": lengths(config.get_secrets()), "environment": environment,
        }));
        if let Some(delay) = values.get("crash-after-ms").and_then(|text| text.parse().ok()) {
            // A thread, not a task: the process must end whatever the runtime does.
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(delay));
                std::process::exit(3)
            });
        }
        Ok(())
    }

    async fn on_config_update(&self, update: impl ProviderConfigUpdate) -> anyhow::Result<()> {
        self.configure(update.get_values());
        self.journal.write(&json!({ "event": "config", "config": update.get_values() }));
        Ok(())
    }

    async fn receive_link_config_as_source(&self, link: LinkConfig<'_>) -> anyhow::Result<()> {
        self.link("put-as-source", &link);
        Ok(())
    }

    async fn receive_link_config_as_target(&self, link: LinkConfig<'_>) -> anyhow::Result<()> {
        let greeting = link.config.get("greeting").cloned().unwrap_or_else(|| "hello".into());
        let key = format!("{}/{}", link.source_id, link.link_name);
        self.greetings.lock().unwrap_or_else(PoisonError::into_inner).insert(key, greeting);
        self.link("put-as-target", &link);
        Ok(())
    }

    async fn delete_link_as_target(&self, link: impl LinkDeleteInfo) -> anyhow::Result<()> {
        let key = format!("{}/{}", link.get_source_id(), link.get_link_name());
        self.greetings.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        self.unlink("del-as-target", &link);
        Ok(())
    }

    async fn delete_link_as_source(&self, link: impl LinkDeleteInfo) -> anyhow::Result<()> {
        self.unlink("del-as-source", &link);
        Ok(())
    }

    async fn health_request(&self, _request: &HealthCheckRequest) -> anyhow::Result<HealthCheckResponse> {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match health.as_str() {
            // The SDK handles one command at a time, so this is a provider that hangs.
            "silent" => std::future::pending().await,
            "bad" => Ok(HealthCheckResponse { healthy: false, message: Some("told to be bad".into()) }),
            _ => Ok(HealthCheckResponse { healthy: true, message: None }),
        }
    }

    async fn shutdown(&self) -> anyhow::Result<()> {
        self.journal.write(&json!({ "event": "shutdown" }));
        Ok(())
    }
}

async fn serve(client: &WrpcClient, fixture: Fixture) -> anyhow::Result<()> {
    let paths: Arc<[Box<[Option<usize>]>]> = Arc::from([]);
    let read = client.serve_values::<(), (String,)>(INTERFACE, "read", paths.clone()).await?;
    let note = client.serve_values::<(String,), (String,)>(INTERFACE, "note", paths).await?;
    let (mut read, mut note) = (Box::pin(read), Box::pin(note));
    loop {
        tokio::select! {
            Some(invocation) = read.next() => {
                let (_, (), _, answer) = invocation?;
                answer((fixture.journal.read(),)).await?;
            }
            Some(invocation) = note.next() => {
                let (context, (text,), _, answer) = invocation?;
                let context = context.unwrap_or_default();
                let source = context.component.as_deref().unwrap_or("(nobody)");
                answer((fixture.note(source, context.link_name(), &text),)).await?;
            }
            else => return Ok(()),
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let fixture = Fixture::default();
    let commands = run_provider(fixture.clone(), "journal").await.context("starting")?;
    let connection = get_connection();
    let client = connection.get_wrpc_client(connection.provider_key()).await?;
    eprintln!("journal provider is ready");
    tokio::select! {
        () = commands => Ok(()),
        served = serve(&client, fixture) => served,
    }
}
