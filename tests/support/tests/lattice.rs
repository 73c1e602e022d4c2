//! Goal: the real wadm and the real wash start and answer, wadm keeps what it was told over a crash, and a test sees events, state and refusals as they
//! are. Method: a NATS server with wadm and no host: `wash` puts a manifest, the lattice is asked by the protocol.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "tests")]

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use swiftcart_support::lattice::Lattice;
use swiftcart_support::service::{LatticeHost, LatticeHostOptions, Nats, Wadm};
use swiftcart_support::tools::{Progress, Tools, Wanted};
use swiftcart_support::wash::Wash;
use swiftcart_support::{Lifetime, Place};

fn tools() -> Tools {
    Tools::new(Progress::new(|sentence| println!("{sentence}"))).unwrap()
}

async fn nats(place: &Place) -> Nats {
    let installed = tools().install(Wanted { nats: true, ..Wanted::NONE }).unwrap();
    Nats::start_in(place, installed.nats_server.as_deref().unwrap()).await.unwrap()
}

#[tokio::test]
async fn wash_and_wadm_understand_each_other_and_a_crash_forgets_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path(), Lifetime::WithParent).unwrap();
    let nats = nats(&place).await;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wadm/server");
    let began = Instant::now();
    let mut wadm = Wadm::start_in(&place, &tools().wadm(&source).unwrap(), &nats.url()).await.unwrap();
    println!("wadm: first start: {:?}", began.elapsed());
    let wash = Wash::new(&tools().wash().unwrap(), &folder.path().join("home"), &nats.url(), "default").unwrap();
    let lattice = Lattice::connect(&nats.url(), "default").await.unwrap();

    let manifest = json!({
        "apiVersion": "core.oam.dev/v1beta1", "kind": "Application",
        "metadata": {"name": "lonely", "annotations": {"version": "0.0.1"}},
        "spec": {"components": [{"name": "one", "type": "component", "properties": {"image": "file:///nowhere.wasm"}}]},
    });
    let file = folder.path().join("lonely.yaml");
    std::fs::write(&file, manifest.to_string()).unwrap();
    let put = wash.ok(&["app", "put", file.to_str().unwrap()]).await.unwrap();
    assert_eq!(put["success"], true, "{put}");
    wadm.kill().unwrap();
    wadm.start().await.unwrap();
    let listed = wash.ok(&["app", "list"]).await.unwrap();
    assert_eq!(listed["applications"][0]["name"], "lonely", "{listed}");
    assert_eq!(lattice.applications().await.unwrap().len(), 1);
    assert_eq!(lattice.status("lonely").await.unwrap(), "undeployed");

    // There is no host: commands that need one fail, and say so in words.
    let refused = wash.refused(&["config", "get", "nothing"]).await.unwrap();
    assert!(refused.to_string().contains("host"), "{refused}");
    assert!(wash.ok(&["app", "list"]).await.unwrap().is_object());
    assert!(lattice.hosts().await.unwrap().is_empty());
    assert!(lattice.control("host.get.NOBODY", &Value::Null).await.is_err());

    let events = lattice.record().await.unwrap();
    let (mark, subject) = (events.mark(), "wasmbus.evt.default.config_set");
    lattice.client().publish(subject, r#"{"data": {"config_name": "words"}}"#.into()).await.unwrap();
    let soon = Duration::from_secs(5);
    let event = events.wait(mark, soon, "config_set", |event| event.says("config_name", "words")).await.unwrap();
    assert_eq!(event.data()["config_name"], "words");
    let never = events.wait(mark, Duration::from_millis(200), "config_deleted", |_| true).await.unwrap_err();
    assert!(format!("{never:#}").contains("config_set"), "{never:#}");
    wadm.stop().await.unwrap();
}

#[tokio::test]
async fn a_host_that_never_answers_a_ping_is_not_ready() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path(), Lifetime::WithParent).unwrap();
    let nats = nats(&place).await;
    // It lives, but it is no host.
    let program = folder.path().join("no-host");
    std::fs::write(&program, "#!/bin/sh\necho \"told $WASMCLOUD_LATTICE on $WASMCLOUD_CTL_PORT\"\nexec sleep 60\n")
        .unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, executable).unwrap();
    let mut options = LatticeHostOptions::new("host", &program, &nats.url(), folder.path());
    options.ready_deadline = Duration::from_secs(2);
    let error = format!("{:#}", LatticeHost::start_in(&place, &options).await.unwrap_err());
    assert!(error.contains("does not answer a ping"), "{error}");
    assert!(error.contains(&format!("told default on {}", nats.port())), "{error}");
}
