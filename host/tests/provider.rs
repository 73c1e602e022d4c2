//! External providers under our host. Goal: a provider built on the unmodified public SDK hears what it must, in time, and ends when it
//! must. Method: the provider `journal` (`tests/provider-sdk`) on a real NATS server; it writes down what the SDK hands it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests; JSON is indexed by name")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use secrecy::SecretString;
use serde_json::{Value, json};
use swiftcart_host::lattice::provider::{ProviderEvent, ProviderSettings, ProviderSpec, Providers, What};
use swiftcart_host::manifest::{LinkPlan, Settings};
use swiftcart_support::service::Nats;
use swiftcart_support::tools::{Progress, Tools, Wanted};
use swiftcart_support::{Lifetime, Place, eventually};
use tokio::sync::mpsc;

const SOON: Duration = Duration::from_secs(20);

struct Bench {
    providers: Providers,
    events: mpsc::Receiver<ProviderEvent>,
    nats: async_nats::Client,
    _server: Nats,
    program: PathBuf,
    folder: tempfile::TempDir,
}

/// Both programs, installed once however many tests run.
fn programs() -> (PathBuf, PathBuf) {
    static ONCE: Mutex<Option<(PathBuf, PathBuf)>> = Mutex::new(None);
    let mut found = ONCE.lock().unwrap_or_else(PoisonError::into_inner);
    found
        .get_or_insert_with(|| {
            // Two providers of cryptography are linked, so one must be chosen; a second choice is an error of no consequence.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            let tools = Tools::new(Progress::new(|sentence| eprintln!("{sentence}"))).unwrap();
            let wanted = Wanted { nats: true, ..Wanted::NONE };
            let nats = tools.install(wanted).unwrap().nats_server.unwrap();
            (nats, tools.journal_provider().unwrap())
        })
        .clone()
}

impl Bench {
    async fn new(change: impl FnOnce(&mut ProviderSettings)) -> Self {
        let (server, program) = tokio::task::spawn_blocking(programs).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let place = Place::open(folder.path(), Lifetime::WithParent).unwrap();
        let server = Nats::start_in(&place, &server).await.unwrap();
        let nats = async_nats::connect(server.url()).await.unwrap();
        let mut settings = ProviderSettings::new("NHOST", "test", &server.url(), folder.path().join("programs"));
        settings.shutdown_delay = Duration::from_secs(5);
        change(&mut settings);
        let (providers, events) = Providers::new(settings, nats.clone()).unwrap();
        Self { providers, events, nats, _server: server, program, folder }
    }

    fn journal_file(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    fn spec(&self, config: &[(&str, &str)]) -> ProviderSpec {
        let file = self.journal_file().display().to_string();
        ProviderSpec {
            id: "journal".into(),
            image_ref: self.program.display().to_string(),
            file: self.program.clone(),
            annotations: BTreeMap::from([("made-by".into(), "test".into())]),
            config: settings(&[config, &[("journal-file", &file)]].concat(), &[]),
        }
    }

    /// What the provider wrote down.
    fn journal(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.journal_file()).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a number of entries of a kind, in all lives of the provider.
    async fn entries(&self, event: &str, count: usize) -> anyhow::Result<Vec<Value>> {
        eventually(SOON, &format!("{count} times `{event}` in the journal"), || async {
            let found: Vec<_> = self.journal().into_iter().filter(|entry| entry["event"] == event).collect();
            ensure!(found.len() >= count, "{:?}", self.journal());
            Ok(found)
        })
        .await
    }

    async fn event(&mut self, wanted: impl Fn(&What) -> bool) -> anyhow::Result<ProviderEvent> {
        let mut others = Vec::new();
        tokio::time::timeout(SOON, async {
            loop {
                let event = self.events.recv().await.context("no more events")?;
                if wanted(&event.what) {
                    return Ok(event);
                }
                others.push(event.what);
            }
        })
        .await
        .with_context(|| format!("{others:?}"))?
    }

    async fn started(&mut self, config: &[(&str, &str)]) -> anyhow::Result<()> {
        self.providers.start(self.spec(config))?;
        self.event(|what| *what == What::Started).await?;
        self.event(|what| matches!(what, What::Health { healthy: true, changed: true, .. })).await?;
        Ok(())
    }
}

fn settings(values: &[(&str, &str)], secrets: &[(&str, &str)]) -> Settings {
    Settings {
        values: values.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        secrets: secrets.iter().map(|(key, value)| ((*key).into(), SecretString::from(*value))).collect(),
    }
}

fn link(source: &str, target: &str, package: &str, config: Settings) -> LinkPlan {
    let (own, other) = (config, settings(&[], &[("not-for-it", "not for the provider")]));
    let (source_config, target_config) = if source == "journal" { (own, other) } else { (other, own) };
    LinkPlan {
        source: source.into(),
        target: target.into(),
        name: "default".into(),
        namespace: "test".into(),
        package: package.into(),
        interfaces: vec!["journal".into()],
        source_config,
        target_config,
    }
}

fn alive(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[tokio::test]
async fn it_starts_with_links_settings_and_secrets_and_ends_in_good_order() -> anyhow::Result<()> {
    let mut bench = Bench::new(|settings| settings.environment = vec![("OTEL_TEST".into(), "1".into())]).await;
    bench.providers.set_links(vec![
        link("cart", "journal", "journal", settings(&[("greeting", "hi")], &[("url", "12345")])),
        link("journal", "sink", "journal", settings(&[("to", "sink")], &[])),
        link("cart", "others", "journal", settings(&[], &[])),
    ]);
    let mut spec = bench.spec(&[]);
    spec.config.secrets.insert("token".into(), SecretString::from("1234567"));
    bench.providers.start(spec)?;
    assert!(bench.providers.start(bench.spec(&[])).is_err(), "the id is taken");
    let event = bench.event(|what| *what == What::Started).await?;
    assert_eq!(event.spec.annotations.get("made-by").map(String::as_str), Some("test"));
    let init = &bench.entries("init", 1).await?[0];
    assert_eq!((&init["id"], &init["secrets"]), (&json!("journal"), &json!({"token": 7})));
    assert_eq!(init["environment"], json!(["OTEL_TEST"]), "it sees what it may and nothing else");
    let target = &bench.entries("put-as-target", 1).await?[0];
    assert_eq!(target["config"], json!({"greeting": "hi"}));
    assert_eq!(target["secrets"], json!({"url": 5}));
    assert_eq!(bench.entries("put-as-source", 1).await?[0]["config"], json!({"to": "sink"}));

    let listed = bench.providers.list();
    let pid = init["pid"].as_u64().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].facts.pid.map(u64::from), Some(pid));
    assert!(bench.providers.stop("journal", "a test wants it").await);
    assert!(!alive(pid) && bench.providers.list().is_empty());
    assert!(!bench.entries("shutdown", 1).await?.is_empty());
    bench.event(|what| *what == What::Stopped { reason: "a test wants it".into() }).await?;
    assert!(!bench.providers.stop("journal", "again").await);
    let all = std::fs::read_to_string(bench.journal_file())?;
    assert!(!all.contains("not-for-it"), "the secrets of the other side stay here: {all}");
    Ok(())
}

#[tokio::test]
async fn links_come_change_and_go_while_it_runs() -> anyhow::Result<()> {
    let mut bench = Bench::new(|_| {}).await;
    bench.started(&[]).await?;
    let greeting = |text: &str| link("cart", "journal", "journal", settings(&[("greeting", text)], &[("url", text)]));
    let other = link("cart", "journal", "second", settings(&[], &[]));
    bench.providers.set_links(vec![greeting("one")]);
    assert_eq!(bench.entries("put-as-target", 1).await?[0]["secrets"], json!({"url": 3}));

    // Another link of the same pair, then a change of the first: afterwards both must stand.
    bench.providers.set_links(vec![greeting("one"), other.clone()]);
    bench.entries("put-as-target", 2).await?;
    bench.providers.set_links(vec![greeting("three"), other.clone()]);
    eventually(SOON, "the changed link and its neighbour after the deletion", || async {
        let journal = bench.journal();
        let deleted = journal.iter().rposition(|entry| entry["event"] == "del-as-target").context("no deletion")?;
        let since = journal.iter().skip(deleted).filter(|entry| entry["event"] == "put-as-target");
        let (mut changed, mut neighbour) = (false, false);
        for entry in since {
            changed |= entry["config"]["greeting"] == "three" && entry["secrets"]["url"] == 5;
            neighbour |= entry["package"] == "second";
        }
        ensure!(changed && neighbour, "{journal:?}");
        Ok(())
    })
    .await?;

    // A deletion by another host, as if it had the same provider: the links that we want are put again.
    let before = bench.entries("del-as-target", 1).await?.len();
    let deletion = json!({"source_id": "cart", "target": "journal", "name": "default", "wit_namespace": "test",
        "wit_package": "second", "interfaces": []});
    bench.nats.publish("wasmbus.rpc.test.journal.linkdefs.del", deletion.to_string().into()).await?;
    bench.entries("del-as-target", before + 1).await?;
    eventually(SOON, "the link again", || async {
        let journal = bench.journal();
        let deleted = journal.iter().rposition(|entry| entry["event"] == "del-as-target").unwrap_or_default();
        let again = journal.iter().skip(deleted).filter(|entry| entry["event"] == "put-as-target").count();
        ensure!(again >= 2, "{journal:?}");
        Ok(())
    })
    .await?;

    let deletions = bench.entries("del-as-target", 1).await?.len();
    bench.providers.set_links(Vec::new());
    bench.entries("del-as-target", deletions + 2).await?;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(bench.journal().last().unwrap()["event"], "del-as-target", "nothing is put again");
    bench.providers.shutdown_all("end").await;
    Ok(())
}

/// Goal: what changes while a provider starts is not lost. Method: change links at once after the start, many times.
#[tokio::test]
async fn links_that_change_during_the_start_arrive() -> anyhow::Result<()> {
    let mut bench = Bench::new(|_| {}).await;
    bench.providers.set_links(vec![link("old", "journal", "journal", settings(&[], &[]))]);
    bench.providers.start(bench.spec(&[]))?;
    for number in 0..20 {
        let number = number.to_string();
        bench.providers.set_links(vec![link("cart", "journal", "journal", settings(&[("greeting", &number)], &[]))]);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bench.event(|what| *what == What::Started).await?;
    eventually(SOON, "the last links only", || async {
        let mut links = BTreeMap::new();
        for entry in bench.journal() {
            let source = entry["source"].as_str().unwrap_or_default().to_owned();
            match entry["event"].as_str() {
                Some("put-as-target") => drop(links.insert(source, entry["config"]["greeting"].clone())),
                Some("del-as-target") => drop(links.remove(&source)),
                _ => {}
            }
        }
        ensure!(links == BTreeMap::from([("cart".to_owned(), json!("19"))]), "{links:?}");
        Ok(())
    })
    .await?;
    bench.providers.shutdown_all("end").await;
    Ok(())
}

#[tokio::test]
async fn settings_change_while_it_runs_and_a_secret_starts_it_again() -> anyhow::Result<()> {
    let mut bench = Bench::new(|_| {}).await;
    bench.started(&[]).await?;
    let mut config = bench.spec(&[("mood", "calm")]).config;
    assert!(bench.providers.set_config("journal", config.clone()));
    assert_eq!(bench.entries("config", 1).await?[0]["config"]["mood"], "calm");
    config.secrets.insert("token".into(), SecretString::from("123"));
    assert!(bench.providers.set_config("journal", config));
    let lives = bench.entries("init", 2).await?;
    assert_eq!((&lives[1]["secrets"], &lives[1]["config"]["mood"]), (&json!({"token": 3}), &json!("calm")));
    // In good order. The SDK says it once or twice.
    bench.entries("shutdown", 1).await?;
    assert!(!bench.providers.set_config("nobody", Settings::default()));
    bench.providers.shutdown_all("end").await;
    Ok(())
}

#[tokio::test]
async fn it_is_started_again_when_it_dies() -> anyhow::Result<()> {
    let mut bench = Bench::new(|_| {}).await;
    bench.providers.set_links(vec![link("cart", "journal", "journal", settings(&[], &[]))]);
    bench.started(&[]).await?;
    let pid = bench.providers.list()[0].facts.pid.unwrap();
    let killed = tokio::process::Command::new("kill").args(["-9", &pid.to_string()]).status().await?;
    assert!(killed.success());
    let event = bench.event(|what| matches!(what, What::Health { healthy: false, changed: true, .. })).await?;
    assert!(matches!(&event.what, What::Health { message, .. } if message.contains("signal: 9")), "{event:?}");
    bench.event(|what| matches!(what, What::Health { healthy: true, changed: true, .. })).await?;
    bench.entries("put-as-target", 2).await?;
    let facts = &bench.providers.list()[0].facts;
    assert!(facts.restarts == 1 && facts.pid.is_some_and(|new| new != pid), "{facts:?}");
    bench.providers.shutdown_all("end").await;
    Ok(())
}

/// Goal: a provider that always ends is not started in a tight loop, stays unhealthy or says so, and can be stopped between two lives.
#[tokio::test]
async fn one_that_always_dies_is_slowed_down() -> anyhow::Result<()> {
    let mut bench = Bench::new(|_| {}).await;
    bench.providers.start(bench.spec(&[("crash-after-ms", "1200")]))?;
    bench.event(|what| *what == What::Started).await?;
    for _ in 0..3 {
        let event = bench.event(|what| matches!(what, What::Health { healthy: false, .. })).await?;
        assert!(matches!(&event.what, What::Health { message, .. } if message.contains("exit status: 3")), "{event:?}");
    }
    tokio::time::timeout(SOON, bench.providers.stop("journal", "enough")).await?;
    bench.event(|what| *what == What::Stopped { reason: "enough".into() }).await?;
    Ok(())
}

#[tokio::test]
async fn what_cannot_start_says_why_and_frees_its_id() -> anyhow::Result<()> {
    let mut bench = Bench::new(|_| {}).await;
    let mut missing = bench.spec(&[]);
    missing.file = PathBuf::from("nowhere.par");
    let mut text = bench.spec(&[]);
    text.file = bench.folder.path().join("text");
    std::fs::write(&text.file, "no archive")?;
    let mut early = bench.spec(&[]);
    early.file = PathBuf::from("/bin/false").canonicalize()?;
    for (spec, says) in [(missing, "nowhere.par"), (text, "archive"), (early, "exit status: 1")] {
        bench.providers.start(spec)?;
        match bench.event(|what| !matches!(what, What::Health { .. })).await?.what {
            What::StartFailed { error } => assert!(error.contains(says), "{error}"),
            other => bail!("{other:?}"),
        }
        assert!(!bench.providers.has("journal"));
    }
    let mut named = bench.spec(&[]);
    named.id = "a.b".into();
    assert!(bench.providers.start(named).unwrap_err().to_string().contains("no provider id"));
    bench.providers.shutdown_all("end").await;
    assert!(bench.providers.start(bench.spec(&[])).unwrap_err().to_string().contains("stopping"));
    Ok(())
}

/// Goal: health says what the provider says, lasting silence is a failure, and what hangs is killed. Method: the provider is told how to be.
#[tokio::test]
async fn health_is_what_it_says_and_silence_is_failure() -> anyhow::Result<()> {
    let quick = |settings: &mut ProviderSettings| {
        settings.first_health = Duration::from_millis(300);
        settings.health_interval = Duration::from_millis(200);
        settings.shutdown_delay = Duration::from_millis(500);
    };
    let mut bench = Bench::new(quick).await;
    bench.started(&[]).await?;
    let pid = u64::from(bench.providers.list()[0].facts.pid.unwrap());
    bench.event(|what| matches!(what, What::Health { healthy: true, changed: false, .. })).await?;
    bench.providers.set_config("journal", bench.spec(&[("health", "bad")]).config);
    let event = bench.event(|what| matches!(what, What::Health { healthy: false, changed: true, .. })).await?;
    assert!(matches!(&event.what, What::Health { message, .. } if message == "told to be bad"), "{event:?}");
    bench.providers.set_config("journal", bench.spec(&[]).config);
    bench.event(|what| matches!(what, What::Health { healthy: true, changed: true, .. })).await?;
    bench.providers.set_config("journal", bench.spec(&[("health", "silent")]).config);
    let event = bench.event(|what| matches!(what, What::Health { healthy: false, changed: true, .. })).await?;
    assert!(matches!(&event.what, What::Health { message, .. } if message.contains("unanswered")), "{event:?}");
    let begun = tokio::time::Instant::now();
    bench.providers.stop("journal", "it hangs").await;
    assert!(!alive(pid) && begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    Ok(())
}

#[tokio::test]
async fn dropping_the_owner_kills() -> anyhow::Result<()> {
    let mut bench = Bench::new(|_| {}).await;
    bench.started(&[]).await?;
    let pid = u64::from(bench.providers.list()[0].facts.pid.unwrap());
    let Bench { providers, .. } = bench;
    drop(providers);
    eventually(SOON, "the end of the provider", || async {
        ensure!(!alive(pid));
        Ok(())
    })
    .await
}

/// Goal: a provider dies with a host that is killed, which cannot do anything about it. Method: the real host's guard under a shell that is
/// killed; the guard becomes `sleep`.
#[tokio::test]
async fn the_guard_ends_the_provider_when_its_parent_is_killed() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (file, program) = (folder.path().join("pid"), folder.path().join("provider"));
    std::fs::write(&program, "#!/bin/sh\nexec sleep 600\n")?;
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    let script = r#""$0" --guard-provider $$ "$1" & echo $! > "$2"; wait"#;
    let mut parent = tokio::process::Command::new("sh")
        .args([Path::new("-c"), Path::new(script), Path::new(env!("CARGO_BIN_EXE_swiftcart-host")), &program, &file])
        .kill_on_drop(true)
        .spawn()?;
    let pid: u64 = eventually(SOON, "the provider in place of its guard", || async {
        let pid = std::fs::read_to_string(&file)?.trim().parse()?;
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
        ensure!(command.starts_with("sleep"), "{command}");
        Ok(pid)
    })
    .await?;
    parent.kill().await?;
    eventually(SOON, "the end of the provider", || async {
        ensure!(!alive(pid));
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_guard_of_another_parent_starts_nothing() -> anyhow::Result<()> {
    let mut guard = tokio::process::Command::new(env!("CARGO_BIN_EXE_swiftcart-host"));
    let output = guard.args(["--guard-provider", "1", "/bin/true"]).output().await?;
    assert_eq!(output.status.code(), Some(126), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}
