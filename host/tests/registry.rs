//! Goal: components come out of a real OCI registry as they went in, with and without a login, by tag and by digest. Method: Distribution
//! on 127.0.0.1; artifacts are pushed in the form of `wash push`.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use oci_client::client::{Client, ClientConfig, ClientProtocol, Config, ImageLayer};
use oci_client::secrets::RegistryAuth;
use swiftcart_host::manifest::ImageReference;
use swiftcart_host::runtime::{
    ArtifactError, ArtifactOptions, Artifacts, Engine, RegistryCredentials, RegistryError, RegistryOptions,
};
use swiftcart_support::service::Registry;
use swiftcart_support::tools::{Progress, Tools, Wanted};
use swiftcart_support::{Lifetime, Place};

/// The smallest component, and the same with a custom section.
const FIRST: &[u8] = b"\0asm\x0d\0\x01\0";
const SECOND: &[u8] = b"\0asm\x0d\0\x01\0\0\x02\x01x";
const COMPONENT: &str = "application/wasm";
const PROVIDER: &str = "application/vnd.wasmcloud.provider.archive.layer.v1+par";

fn artifacts(registry: &Registry, folder: &Path) -> Artifacts {
    let options = ArtifactOptions {
        root: folder.to_owned(),
        cache: Some(folder.join("cache")),
        absolute_files: false,
        registry: RegistryOptions { insecure: vec![registry.host()], ..RegistryOptions::default() },
    };
    Artifacts::with(Engine::new().unwrap(), options)
}

async fn push(registry: &Registry, name: &str, media_type: &str, bytes: &[u8], auth: &RegistryAuth) {
    let client = Client::new(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() });
    let layer = ImageLayer::new(bytes.to_vec(), media_type.to_owned(), None);
    let config = Config::new(&b"{}"[..], "application/vnd.wasm.config.v0+json".to_owned(), None);
    let reference = format!("{}/{name}", registry.host()).parse().unwrap();
    client.push(&reference, &[layer], config, auth, None).await.unwrap();
}

fn image(registry: &Registry, name: &str) -> ImageReference {
    format!("{}/{name}", registry.host()).parse().unwrap()
}

#[tokio::test]
async fn components_come_from_a_real_registry() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path(), Lifetime::WithParent).unwrap();
    let tools = Tools::new(Progress::silent()).unwrap();
    let installed = tokio::task::spawn_blocking(move || tools.install(Wanted { registry: true, ..Wanted::NONE }));
    let program = installed.await.unwrap().unwrap().registry.unwrap();
    let mut registry = Registry::start_in(&place, &program).await.unwrap();
    let artifacts = artifacts(&registry, folder.path());

    push(&registry, "shop/cart:1", COMPONENT, FIRST, &RegistryAuth::Anonymous).await;
    let first = artifacts.fetch(&image(&registry, "shop/cart:1")).await.unwrap();
    let pulled = artifacts.registry().pull(&image(&registry, "shop/cart:1").to_string()).await.unwrap();
    assert_eq!(pulled.bytes, FIRST);
    push(&registry, "shop/cart:1", COMPONENT, SECOND, &RegistryAuth::Anonymous).await;
    let second = artifacts.fetch(&image(&registry, "shop/cart:1")).await.unwrap();
    assert_ne!(first.digest, second.digest);
    let pinned = image(&registry, &format!("shop/cart@{}", pulled.manifest));
    assert_eq!(artifacts.fetch(&pinned).await.unwrap().digest, first.digest);

    push(&registry, "shop/tool:1", PROVIDER, b"archive", &RegistryAuth::Anonymous).await;
    let tool = image(&registry, "shop/tool:1");
    let file = artifacts.registry().pull_provider(&tool.to_string()).await.unwrap();
    assert_eq!(std::fs::read(file).unwrap(), b"archive");
    let wrong = artifacts.fetch(&tool).await.err().unwrap();
    assert!(matches!(wrong, ArtifactError::Registry(RegistryError::OtherKind { .. })), "{wrong}");
    let missing = artifacts.fetch(&image(&registry, "shop/none:1")).await.err().unwrap();
    assert!(matches!(missing, ArtifactError::Registry(RegistryError::NotFound(_))), "{missing}");

    registry.stop().await.unwrap();
    assert_eq!(artifacts.fetch(&image(&registry, "shop/cart:1")).await.unwrap().digest, second.digest);
    assert_eq!(artifacts.fetch(&pinned).await.unwrap().digest, first.digest);
    let away = artifacts.fetch(&image(&registry, "shop/cart:2")).await.err().unwrap();
    assert!(matches!(away, ArtifactError::Registry(RegistryError::Away { .. })), "{away}");
}

#[tokio::test]
async fn a_registry_that_wants_a_login_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path(), Lifetime::WithParent).unwrap();
    let tools = Tools::new(Progress::silent()).unwrap();
    let installed = tokio::task::spawn_blocking(move || tools.install(Wanted { registry: true, ..Wanted::NONE }));
    let program = installed.await.unwrap().unwrap().registry.unwrap();
    let registry = Registry::start_locked_in(&place, &program).await.unwrap();
    let artifacts = artifacts(&registry, folder.path());
    let (user, password) = Registry::credentials();
    push(&registry, "cart:1", COMPONENT, FIRST, &RegistryAuth::Basic(user.into(), password.into())).await;

    let refused = async || {
        let error = artifacts.fetch(&image(&registry, "cart:1")).await.err().unwrap();
        assert!(matches!(error, ArtifactError::Registry(RegistryError::Unauthorized(_))), "{error}");
        assert!(!error.to_string().contains("wrong"), "{error}");
    };
    let log_in = |password: &str| {
        let credentials =
            RegistryCredentials::from_parts(Some(user.to_owned()), Some(password.to_owned()), None).unwrap();
        artifacts.registry().set_credentials(&registry.host(), credentials);
    };
    refused().await;
    log_in("wrong");
    refused().await;
    log_in(password);
    assert!(artifacts.fetch(&image(&registry, "cart:1")).await.is_ok());
    // What is cached does not open to somebody whom the registry refuses now.
    log_in("wrong");
    refused().await;
}
