//! A lattice without a host: NATS, and the test itself in the host's place.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use async_nats::HeaderMap;
use base64::Engine as _;
use nkeys::XKey;
use serde_json::{Value, json};
use swiftcart_support::service::Nats;
use swiftcart_support::tools::{Installed, Progress, Tools, Wanted};
use swiftcart_support::{Lifetime, Place, eventually};
use wrpc_transport::{InvokeExt as _, TupleDecode, TupleEncode};
use wrpc_transport_nats::{ParamWriter, Reader};

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
const LATTICE: &str = "stage";
const HOST: &str = "NSTAGE";

/// NATS, and what was installed.
pub(crate) struct Stage {
    pub(crate) nats: async_nats::Client,
    pub(crate) place: Place,
    pub(crate) installed: Installed,
    server: Nats,
    _folder: tempfile::TempDir,
}

impl Stage {
    pub(crate) async fn build(wanted: Wanted) -> Self {
        // Two TLS back ends are linked, so the choice must be said; another test may have said it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let wanted = Wanted { nats: true, ..wanted };
        let install = move || Tools::new(Progress::silent()).unwrap().install(wanted).unwrap();
        let installed = tokio::task::spawn_blocking(install).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let place = Place::open(folder.path(), Lifetime::WithParent).unwrap();
        let server = Nats::start_in(&place, installed.nats_server.as_ref().unwrap()).await.unwrap();
        let nats = async_nats::connect(server.url()).await.unwrap();
        Self { nats, place, installed, server, _folder: folder }
    }

    pub(crate) const NOTHING: Wanted = Wanted { nats: true, ..Wanted::NONE };

    /// Starts a program as a host does, and waits until it is healthy.
    pub(crate) async fn start(&self, path: &str, id: &str, config: Value, links: Value) -> Provider {
        let (host_key, own_key) = (XKey::new(), XKey::new());
        let data = json!({
            "host_id": HOST, "lattice_rpc_prefix": LATTICE, "link_name": "default", "lattice_rpc_user_jwt": "",
            "lattice_rpc_user_seed": "", "lattice_rpc_url": self.server.url(), "provider_key": id, "env_values": {},
            "instance_id": "1", "link_definitions": links, "cluster_issuers": [], "config": config, "secrets": {},
            "host_xkey_public_key": host_key.public_key(), "provider_xkey_private_key": own_key.seed().unwrap(),
            "structured_logging": false, "log_level": "info",
        });
        let mut child = Command::new(path).env_clear().stdin(Stdio::piped()).spawn().unwrap();
        let line = base64::engine::general_purpose::STANDARD.encode(data.to_string());
        child.stdin.take().unwrap().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        let provider = Provider { nats: self.nats.clone(), id: id.to_owned(), host_key, own_key, child };
        eventually(DEADLINE, "the program to answer", || async { provider.health().await }).await.unwrap();
        provider
    }

    /// Calls with the stock client of wRPC. `target` is the provider's id.
    pub(crate) async fn call<P, R>(
        &self,
        source: &str,
        target: &str,
        instance: &str,
        function: &str,
        parameters: P,
    ) -> anyhow::Result<R>
    where
        P: TupleEncode<ParamWriter> + Send,
        <P::Encoder as tokio_util::codec::Encoder<P>>::Error: std::error::Error + Send + Sync + 'static,
        R: TupleDecode<Reader> + Send,
        <R::Decoder as tokio_util::codec::Decoder>::Error: std::error::Error + Send + Sync + 'static,
    {
        let prefix = format!("{LATTICE}.{target}");
        let client = wrpc_transport_nats::Client::new(self.nats.clone(), prefix, None).await?;
        let mut headers = HeaderMap::new();
        headers.insert("source-id", source);
        headers.insert("link-name", "default");
        let paths: [[Option<usize>; 0]; 0] = [];
        let calling = client.invoke_values::<_, P, R>(Some(headers), instance, function, parameters, paths);
        let (results, _) = tokio::time::timeout(DEADLINE, calling).await??;
        Ok(results)
    }

    /// A client that serves as the component `id` does.
    pub(crate) async fn serving(&self, id: &str) -> wrpc_transport_nats::Client {
        let prefix = format!("{LATTICE}.{id}");
        wrpc_transport_nats::Client::new(self.nats.clone(), prefix.as_str(), Some(prefix.as_str().into()))
            .await
            .unwrap()
    }

    /// The subject on which a function is invoked.
    pub(crate) fn invocation(target: &str, instance: &str, function: &str) -> String {
        format!("{LATTICE}.{target}.wrpc.0.0.1.{instance}.{function}")
    }
}

/// A running program, with the host's means to speak to it.
pub(crate) struct Provider {
    nats: async_nats::Client,
    id: String,
    host_key: XKey,
    own_key: XKey,
    child: Child,
}

impl Provider {
    /// Secrets as a host seals them.
    pub(crate) fn sealed(&self, secrets: &[(&str, &str)]) -> Value {
        let secrets: BTreeMap<_, _> =
            secrets.iter().map(|(name, value)| (*name, json!({"kind": "String", "value": value}))).collect();
        let bytes = self.host_key.seal(json!(secrets).to_string().as_bytes(), &self.own_key).unwrap();
        json!(bytes)
    }

    /// Puts a link; there is no answer to that.
    pub(crate) async fn put(&self, link: Value) {
        let subject = format!("wasmbus.rpc.{LATTICE}.{}.linkdefs.put", self.own_key.public_key());
        self.nats.publish(subject, link.to_string().into()).await.unwrap();
    }

    /// Deletes a link as hosts do: with the settings left out.
    pub(crate) async fn delete(&self, mut link: Value) {
        let fields = link.as_object_mut().unwrap();
        fields.insert("target_config".to_owned(), json!({}));
        fields.insert("target_secrets".to_owned(), Value::Null);
        let subject = format!("wasmbus.rpc.{LATTICE}.{}.linkdefs.del", self.id);
        self.nats.publish(subject, link.to_string().into()).await.unwrap();
    }

    /// Gives other settings.
    pub(crate) async fn configure(&self, config: Value) {
        let subject = format!("wasmbus.rpc.{LATTICE}.{}.config.update", self.id);
        self.nats.publish(subject, config.to_string().into()).await.unwrap();
    }

    pub(crate) async fn health(&self) -> anyhow::Result<Value> {
        let subject = format!("wasmbus.rpc.{LATTICE}.{}.health", self.id);
        Ok(serde_json::from_slice(&self.nats.request(subject, "".into()).await?.payload)?)
    }

    /// Asks it to end on behalf of `host`; none if it does not react.
    pub(crate) async fn shutdown(&self, host: &str) -> Option<String> {
        let subject = format!("wasmbus.rpc.{LATTICE}.{}.default.shutdown", self.id);
        let request = self.nats.request(subject, json!({ "host_id": host }).to_string().into());
        let answer = tokio::time::timeout(Duration::from_secs(2), request).await.ok()?.ok()?;
        Some(String::from_utf8_lossy(&answer.payload).into_owned())
    }

    /// Ends it as its host does.
    pub(crate) async fn end(mut self) -> ExitStatus {
        assert_eq!(self.shutdown("NOTHER").await, None, "another host may not end it");
        assert_eq!(self.shutdown(HOST).await.as_deref(), Some("shutting down"));
        tokio::task::spawn_blocking(move || self.child.wait().unwrap()).await.unwrap()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A link with settings on the target's side.
pub(crate) fn link(source: &str, target: &str, package: &str, interfaces: &[&str], config: Value) -> Value {
    let (namespace, package) = package.split_once(':').unwrap();
    json!({
        "source_id": source, "target": target, "name": "default", "wit_namespace": namespace, "wit_package": package,
        "interfaces": interfaces, "source_config": {}, "target_config": config, "source_secrets": null,
        "target_secrets": null,
    })
}
