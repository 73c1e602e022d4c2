//! Goal: both manifests of the shop are taken by the real wadm, as often as wanted, and what runs nowhere is not called deployed. Method: a real
//! NATS and wadm, and no host, so that nothing can be placed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "tests")]

mod ground;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ground::{INSTALLED, place};
use serde_json::Value;
use swiftcart_support::lattice::Lattice;
use swiftcart_support::service::{Nats, Wadm};
use swiftcart_support::shop::{Application, deploy, read_configs, store_configs};
use swiftcart_support::tools::{Progress, Tools};

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

#[tokio::test]
async fn both_manifests_are_taken_again_and_again_and_what_runs_nowhere_is_not_deployed() {
    let (folder, wadm) = (tempfile::tempdir().unwrap(), checkout().join("wadm"));
    let place = place(folder.path());
    let nats = Nats::start_in(&place, INSTALLED.nats_server.as_ref().unwrap()).await.unwrap();
    let source = wadm.join("server");
    let program = tokio::task::spawn_blocking(move || Tools::new(Progress::silent()).unwrap().wadm(&source).unwrap());
    let _wadm = Wadm::start_in(&place, &program.await.unwrap(), &nats.url()).await.unwrap();
    let lattice = Lattice::connect(&nats.url(), "default").await.unwrap();

    let configs = read_configs(&wadm.join("production-config.yaml")).unwrap();
    assert_eq!(store_configs(&lattice, &configs).await.unwrap(), configs.len());
    assert_eq!(store_configs(&lattice, &configs).await.unwrap(), 0);
    let stored = lattice.stored_config("warm").await.unwrap().unwrap();
    assert_eq!(stored["host.reuse"], "warm");

    let mut versions = 0;
    for name in ["local.yaml", "production.yaml"] {
        let application = Application::read(&wadm.join(name)).unwrap();
        versions += 1;
        for _ in 0..2 {
            let error = deploy(&lattice, &application, Duration::from_secs(3)).await.unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains("wadm says undeployed"), "{name}: {error}");
        }
        let known = lattice.model("versions.swiftcart", &Value::Null).await.unwrap();
        let known = known["versions"].as_array().unwrap().clone();
        assert_eq!(known.len(), versions, "{known:?}");
        let deployed: Vec<_> = known.iter().filter(|version| version["deployed"] == true).collect();
        assert_eq!(deployed.len(), 1);
        assert_eq!(deployed[0]["version"].as_str(), application.pinned().version());
    }
}
