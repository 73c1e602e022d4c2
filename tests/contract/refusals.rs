//! What the host refuses to start, and with which words: exit code 2, every problem named, nothing connected. The manifest of the suite with
//! one thing changed.

use std::process::Output;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use crate::fixture::{Contract, ensure_file};

/// The link from `probe` to `echo` in the manifest.
const ECHO_LINK: &str = "        - type: link
          properties:
            namespace: test
            package: calls
            interfaces: [echo]
            target:
              name: echo
";

/// A component that nothing can be linked to, to be put before another component.
const UNLINKED: &str = "    - name: unlinked
      type: component
      properties:
        image: file://unlinked.wasm
      traits:
        - type: spreadscaler
          properties:
            instances: 1
LINK
    - name: echo
      type: component
";

/// One change of the manifest, and what the host must say about it.
struct Refused {
    from: &'static str,
    to: String,
    says: &'static [&'static str],
}

impl Refused {
    fn new(from: &'static str, to: impl Into<String>, says: &'static [&'static str]) -> Self {
        Self { from, to: to.into(), says }
    }

    /// `unlinked` with this link.
    fn unlinked(link: &str, says: &'static [&'static str]) -> Self {
        Self::new("    - name: echo\n      type: component\n", UNLINKED.replace("LINK", link), says)
    }

    async fn check(&self, fixture: &Contract) -> anyhow::Result<()> {
        let yaml = std::fs::read_to_string(fixture.built.suite.join("contract.yaml"))?;
        ensure!(yaml.contains(self.from), "the manifest does not hold {:?}", self.from);
        let output = host(fixture, "check", &yaml.replacen(self.from, &self.to, 1), &[]).await?;
        refused(&output, self.says).with_context(|| format!("{:?} -> {:?}", self.from, self.to))
    }
}

fn refused(output: &Output, says: &[&str]) -> anyhow::Result<()> {
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(2), "it ended with {}: {text}", output.status);
    for words in says {
        ensure!(text.contains(words), "it does not say {words:?}: {text}");
    }
    Ok(())
}

/// Runs the host with another manifest and the environment of the running one; a variable with an empty value is left out.
async fn host(fixture: &Contract, command: &str, yaml: &str, environment: &[(&str, &str)]) -> anyhow::Result<Output> {
    let folder = tempfile::tempdir()?;
    let (artifacts, manifest) = (folder.path().join("artifacts"), folder.path().join("manifest.yaml"));
    std::fs::create_dir(&artifacts)?;
    for guest in ["probe", "echo", "caller", "consumer", "unlinked"] {
        let file = format!("{guest}.wasm");
        ensure_file(&fixture.built.guests.join(&file))?;
        std::fs::copy(fixture.built.guests.join(&file), artifacts.join(&file))?;
    }
    std::fs::write(artifacts.join("core-module.wasm"), b"\0asm\x01\0\0\0")?;
    std::fs::write(artifacts.join("empty.wasm"), b"")?;
    std::fs::write(artifacts.join("text.wasm"), b"#!/bin/sh\n")?;
    std::fs::write(artifacts.join("broken.wasm"), b"\0asm\x0d\0\x01\0\x07\xff\xff\xff")?;
    std::fs::write(&manifest, yaml)?;
    let data = fixture.shop.data_dir();
    let addresses = fixture.shop.addresses();
    let mut process = Command::new(&fixture.built.host);
    process.arg(command).arg("--manifest").arg(&manifest).arg("--artifact-root").arg(&artifacts);
    process
        .arg("--migrations-root")
        .arg(fixture.built.suite.join("migrations"))
        .arg("--config-file")
        .arg(data.join("config.yaml"));
    process.arg("--cache-dir").arg(data.join("host-cache")).args([
        "--admin-address",
        "127.0.0.1:0",
        "--log-format",
        "text",
    ]);
    for (name, url) in &addresses.database_urls {
        process.env(format!("SWIFTCART_{}_DATABASE_URL", name.to_uppercase()), url);
    }
    process.env("SWIFTCART_REDIS_URL", &addresses.redis_url).env("SWIFTCART_SMTP_URL", &addresses.smtp_url);
    process.env("SWIFTCART_PSP_SECRET_KEY", &addresses.psp_secret_key);
    for (name, value) in environment {
        if value.is_empty() {
            process.env_remove(name)
        } else {
            process.env(name, value)
        };
    }
    let output = tokio::time::timeout(crate::fixture::DEADLINE, process.kill_on_drop(true).output()).await;
    Ok(output.context("the host neither refused nor ended")??)
}

// Goal: the refusals below are about what was changed. Method: `check` of the manifest as it is.
pub(crate) async fn a_good_application_passes(fixture: &mut Contract) -> anyhow::Result<()> {
    let yaml = std::fs::read_to_string(fixture.built.suite.join("contract.yaml"))?;
    let output = host(fixture, "check", &yaml, &[]).await?;
    ensure!(output.status.code() == Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

// Goal: deny by default: an import without a link, a link without an import, and two ends that do not fit, are named and refused.
// Method: take a link away; put a component in whose one import nobody offers, with each wrong link.
pub(crate) async fn imports_need_links_that_fit(fixture: &mut Contract) -> anyhow::Result<()> {
    let to = |namespace: &str, package: &str, interface: &str, target: &str| {
        format!(
            "        - type: link\n          properties:\n            namespace: {namespace}\n            package: {package}\n            interfaces: [{interface}]\n            target:\n              name: {target}"
        )
    };
    let named = to("test", "calls", "echo", "echo")
        .replace("            namespace", "            name: other\n            namespace");
    for refusal in [
        Refused::new(ECHO_LINK, "", &["component probe imports test:calls/echo@0.1.0, but no link grants it"]),
        Refused::unlinked("", &["component unlinked imports test:calls/echo@0.1.0, but no link grants it"]),
        Refused::unlinked(
            &to("test", "calls", "echo", "echo"),
            &[
                "the link from unlinked to echo promises test:calls/echo@0.1.0",
                "its function same has other parameters or results",
            ],
        ),
        Refused::unlinked(
            &to("test", "calls", "echo", "consumer"),
            &[
                "the link from unlinked to consumer promises test:calls/echo@0.1.0",
                "its exports are",
                "swiftcart:kafka/handler@0.1.0",
            ],
        ),
        Refused::unlinked(
            &to("test", "calls", "echo", "postgres"),
            &[
                "the link from unlinked to postgres promises test:calls/echo@0.1.0",
                "postgres provides swiftcart:postgres/client",
            ],
        ),
        Refused::unlinked(
            &to("swiftcart", "postgres", "client", "postgres"),
            &[
                "the link from unlinked to postgres names swiftcart:postgres/{client}, but unlinked imports nothing of it",
                "no link grants it",
            ],
        ),
        Refused::unlinked(&named, &["named other"]),
        Refused::new(
            "            target:\n              name: consumer\n\n    - name: outbox",
            "            target:\n              name: echo\n\n    - name: outbox",
            &["the link from kafka to echo needs echo to export swiftcart:kafka/handler, and it does not"],
        ),
    ] {
        refusal.check(fixture).await?;
    }
    Ok(())
}

// Goal: a manifest that means nothing is refused with the place and what is expected there. Method: one mistake of each kind.
pub(crate) async fn the_manifest_must_make_sense(fixture: &mut Contract) -> anyhow::Result<()> {
    for refusal in [
        Refused::new("kind: Application", "kind: [", &["YAML"]),
        Refused::new("image: file://echo.wasm", "imag: file://echo.wasm", &["properties.imag", "unknown field"]),
        Refused::new(
            "builtin://timer",
            "builtin://tractor",
            &["capability timer is wasmcloud+builtin://tractor", "this host has"],
        ),
        Refused::new("host.queue_limit", "host.queue_size", &["`host.queue_size` is not known"]),
        Refused::new(
            "policy.breaker.open_ms: \"500\"",
            "policy.breaker.open: \"500\"",
            &[
                "link `caller-breaker` -> `policy-echo` (test:calls), source: `policy.breaker.open` is not known, expected one of",
            ],
        ),
        Refused::new(
            "policy.bulkhead.max_concurrent: \"2\"",
            "policy.bulkhead.max_concurrent: many",
            &[
                "link `caller-bulkhead` -> `policy-echo` (test:calls), source: `policy.bulkhead.max_concurrent` is `many`",
            ],
        ),
        Refused::new(
            "address: 127.0.0.1:0\n                    body_limit_bytes",
            "policy.deadline_ms: \"10\"\n                    body_limit_bytes",
            &["link `edge-strict` -> `probe` (wasi:http) has a policy, but a capability calls over it"],
        ),
        Refused::new(
            "acquire_timeout_ms: \"1000\"",
            "policy.deadline_ms: \"1000\"",
            &[
                "link `probe` -> `postgres` (swiftcart:postgres), target: `policy.deadline_ms` is a key of a link's policy",
            ],
        ),
        Refused::new(
            "              name: narrow-echo\n",
            "              name: nobody\n",
            &["leads nowhere", "`nobody`"],
        ),
        Refused::new("- name: egress\n", "- name: ingress\n", &["there is no external config `ingress`"]),
        Refused::new("migrations: probe", "migrations: ../probe", &["is a path"]),
        Refused::new("key: SWIFTCART_SMTP_URL", "key: SWIFTCART_NO_URL", &["the secret `smtp-url`"]),
        Refused::new("instances: 48", "instances: 4800", &["`instances` is 4800"]),
    ] {
        refusal.check(fixture).await?;
    }
    let yaml = std::fs::read_to_string(fixture.built.suite.join("contract.yaml"))?;
    let output = host(fixture, "check", &yaml, &[("SWIFTCART_REDIS_URL", "")]).await?;
    refused(&output, &["the secret `redis-url` is missing", "SWIFTCART_REDIS_URL"])
}

// Goal: what is no component is refused by what it is. Method: a file of each kind in the place of a component.
pub(crate) async fn files_must_be_components(fixture: &mut Contract) -> anyhow::Result<()> {
    for (file, says) in [
        ("missing.wasm", &["there is no file", "missing.wasm", "`echo`"] as &[&str]),
        ("core-module.wasm", &["it is a core module; build it for wasm32-wasip2"]),
        ("empty.wasm", &["the file is empty"]),
        ("text.wasm", &["does not start with the WebAssembly magic number"]),
        ("broken.wasm", &["cannot compile component"]),
    ] {
        Refused { from: "file://echo.wasm", to: format!("file://{file}"), says }.check(fixture).await?;
    }
    Ok(())
}

// Goal: `run` refuses what `check` refuses, before it connects to anything. Method: a link taken away and a database address that nobody
// answers at: a host that connected first would wait for it.
pub(crate) async fn run_refuses_too(fixture: &mut Contract) -> anyhow::Result<()> {
    let yaml = std::fs::read_to_string(fixture.built.suite.join("contract.yaml"))?.replacen(ECHO_LINK, "", 1);
    let nowhere = [("SWIFTCART_ORDERS_DATABASE_URL", "postgres://nobody:x@127.0.0.1:1/nothing")];
    let output = host(fixture, "run", &yaml, &nowhere).await?;
    refused(&output, &["component probe imports test:calls/echo@0.1.0, but no link grants it"])
}

/// The manifest with an address and topics of its own, so that a host that gets as far as serving takes nothing from the one that runs.
fn apart(yaml: &str) -> String {
    let own_address = "address: 127.0.0.1:0\n                    public_paths:";
    yaml.replacen("public_paths:", own_address, 1).replacen(
        "lessons.given.v1,lessons.blocked.v1,lessons.published.v1",
        "lessons.unused.v1",
        1,
    )
}

// Goal: a setting that cannot work ends the start and names key and link, without its secret. Method: one wrong setting for each provider.
pub(crate) async fn settings_are_checked_before_anything_serves(fixture: &mut Contract) -> anyhow::Result<()> {
    let yaml = std::fs::read_to_string(fixture.built.suite.join("contract.yaml"))?;
    for (from, to, says) in [
        (
            "acquire_timeout_ms: \"1000\"",
            "acquire_timeout_ms: soon",
            &["the link from probe to a capability postgres", "acquire_timeout_ms"] as &[&str],
        ),
        (
            "timeout_ms: \"2000\"\n              secrets",
            "timeout: \"2000\"\n              secrets",
            &["capability email", "timeout"],
        ),
        ("timers: quick=100", "timers: quick=soon", &["the link from timer to consumer", "timers"]),
        ("body_limit_bytes: \"1024\"", "body_limit: \"1024\"", &["the link from edge-strict to probe", "body_limit"]),
        ("group_id: contract-consumer", "group_id: \"\"", &["the link from kafka to consumer", "group_id"]),
    ] {
        ensure!(yaml.contains(from), "the manifest does not hold {from:?}");
        let changed = apart(&yaml.replacen(from, to, 1));
        let output = host(fixture, "run", &changed, &[]).await?;
        refused(&output, says).with_context(|| format!("{from:?} -> {to:?}"))?;
    }
    let policy = "            source:\n              config: [{name: database-policy, properties: {policy.retry.attempts: '3'}}]\n            target:\n              name: postgres\n              config:\n                - name: probe-database";
    let target = "            target:\n              name: postgres\n              config:\n                - name: probe-database";
    ensure!(yaml.contains(target), "the manifest does not hold {target:?}");
    let output = host(fixture, "run", &apart(&yaml.replacen(target, policy, 1)), &[]).await?;
    let says = "link `probe` -> `postgres` (swiftcart:postgres): `policy.retry` is not enforced on links to the built-in capability postgres";
    refused(&output, &[says])?;
    let secret = [("SWIFTCART_ORDERS_DATABASE_URL", "mysql://shop:hunter2@127.0.0.1/orders")];
    let output = host(fixture, "run", &yaml, &secret).await?;
    refused(&output, &["the link from probe to a capability postgres", "url"])?;
    ensure!(!String::from_utf8_lossy(&output.stderr).contains("hunter2"), "the secret is in the log");
    Ok(())
}
