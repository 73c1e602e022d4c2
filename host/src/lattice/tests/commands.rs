//! Components and providers: what is commanded, what the workload is told, what the lattice hears.

use super::*;

fn event(reference: &str, count: u64, scaler: &str) -> (String, u64, String) {
    (reference.into(), count, scaler.into())
}

/// Goal: start, repeat, change, stop. Method: as wash does it, one command after the other.
#[tokio::test]
#[ignore = "needs a NATS server; cargo xtask test contract runs it"]
async fn a_component_starts_scales_and_stops() {
    let server = Server::start().await;
    let mut events = Events::listen(&server).await;
    let host = Host::join(&server).await;
    let started = events.next("host_started").await;
    assert_eq!(started["labels"]["zone"], json!("a"));
    let heartbeat = events.next("host_heartbeat").await;
    assert_eq!((heartbeat["host_id"].as_str(), &heartbeat["components"]), (Some(host.id.as_str()), &json!([])));

    host.scale("file://one.wasm", 3, "").await;
    assert_eq!(events.scaled().await, event("file://one.wasm", 3, ""));
    let components = host.inventory().await["components"].clone();
    assert_eq!((&components[0]["id"], &components[0]["max_instances"]), (&json!("cart"), &json!(3)));
    host.scale("file://one.wasm", 5_000, "").await;
    assert_eq!(events.scaled().await, event("file://one.wasm", 5_000, ""), "what was commanded");
    host.scale("file://none.wasm", 0, "").await;
    assert_eq!(events.scaled().await, event("file://one.wasm", 0, ""), "what ran");
    host.scale("file://one.wasm", 0, "").await;
    assert_eq!(events.scaled().await, event("file://one.wasm", 0, ""), "told although nothing ran");
    let most = crate::limits::MAX_INSTANCES;
    assert_eq!(host.work.log(), ["start file://one.wasm x3", &format!("start file://one.wasm x{most}"), "stop cart"]);
    assert_eq!(host.inventory().await["components"], json!([]));

    let other = json!({"component_ref": "file://a.wasm", "component_id": "a", "count": 1, "host_id": "NOTHER"});
    assert!(host.refused(&format!("component.scale.{}", host.id), other).await.contains("this host is"));
    let bad = json!({"component_ref": "file://a.wasm", "component_id": "a.b", "count": 1});
    assert!(host.refused(&format!("component.scale.{}", host.id), bad).await.contains("is no id"));
}

/// Goal: §7.4 of the protocol notes. Method: wadm's commands of an image upgrade, the second while the first is slow.
#[tokio::test]
#[ignore = "needs a NATS server; cargo xtask test contract runs it"]
async fn wadms_upgrade_never_stops_the_component() {
    let server = Server::start().await;
    let mut events = Events::listen(&server).await;
    let host = Host::join(&server).await;
    host.scale("file://one.wasm", 2, "old").await;
    assert_eq!(events.scaled().await, event("file://one.wasm", 2, "old"));
    host.scale("file://slow.wasm", 2, "new").await;
    host.scale("file://one.wasm", 0, "old").await;
    assert_eq!(events.scaled().await, event("file://slow.wasm", 2, "new"));
    assert_eq!(events.scaled().await, event("file://one.wasm", 0, "old"));
    assert_eq!(events.scaled().await, event("file://slow.wasm", 2, "new"));
    host.scale("file://slow.wasm", 2, "new").await;
    assert_eq!(events.scaled().await, event("file://slow.wasm", 2, "new"), "repeated");
    assert!(!host.work.log().contains(&"stop cart".to_owned()));

    // To a build that is refused: the old one stays, until its new owner wants none.
    host.scale("file://bad.wasm", 2, "newer").await;
    host.scale("file://slow.wasm", 0, "new").await;
    let failed = events.next("component_scale_failed").await;
    assert_eq!(shown(&failed), event("file://bad.wasm", 2, "newer"));
    assert!(failed["error"].as_str().unwrap().contains("has no export"), "{failed}");
    assert_eq!(events.scaled().await, event("file://slow.wasm", 0, "new"));
    assert_eq!(events.scaled().await, event("file://slow.wasm", 2, "new"));
    host.scale("file://bad.wasm", 0, "newer").await;
    assert_eq!(events.scaled().await, event("file://slow.wasm", 0, "new"));
    assert!(host.work.log().contains(&"stop cart".to_owned()));
}

/// Goal: undeploying leaves nothing, although wadm says nothing about a version that it does not know of. Method: wadm's own event.
#[tokio::test]
#[ignore = "needs a NATS server; cargo xtask test contract runs it"]
async fn a_withdrawn_application_leaves_nothing() {
    let server = Server::start().await;
    let mut events = Events::listen(&server).await;
    let host = Host::join(&server).await;
    let withdraw = || async {
        let event = json!({"type": "com.wadm.manifest_unpublished", "data": {"name": "shop"}}).to_string();
        host.nats.publish("wadm.evt.default.manifest_unpublished", event.into()).await.unwrap();
    };
    host.scale("file://one.wasm", 2, "old").await;
    assert_eq!(events.scaled().await, event("file://one.wasm", 2, "old"));
    withdraw().await;
    host.scale("file://bad.wasm", 2, "new").await;
    events.next("component_scale_failed").await;
    assert!(!host.work.log().contains(&"stop cart".to_owned()), "wadm itself stops what it knows of");
    withdraw().await;
    assert_eq!(events.scaled().await, event("file://one.wasm", 0, "old"));
    assert_eq!(host.inventory().await["components"], json!([]));
}

#[tokio::test]
#[ignore = "needs a NATS server; cargo xtask test contract runs it"]
async fn an_update_keeps_annotations_and_instances() {
    let server = Server::start().await;
    let mut events = Events::listen(&server).await;
    let host = Host::join(&server).await;
    let update = |reference: &str| json!({"component_id": "cart", "host_id": host.id, "new_component_ref": reference});
    let subject = format!("component.update.{}", host.id);
    assert!(host.refused(&subject, update("file://two.wasm")).await.contains("component ID not found"));
    host.scale("file://one.wasm", 2, "old").await;
    events.scaled().await;
    let answer = host.ask(&subject, update("file://two.wasm")).await;
    assert_eq!(answer["message"], json!("component ID updating from file://one.wasm to file://two.wasm"));
    assert_eq!(events.scaled().await, event("file://two.wasm", 2, "old"));
    host.accepted(&subject, update("file://bad.wasm")).await;
    assert_eq!(shown(&events.next("component_scale_failed").await), event("file://bad.wasm", 2, "old"));
    assert_eq!(host.inventory().await["components"][0]["image_ref"], json!("file://two.wasm"));
}

/// Goal: after a rollback the lattice hears what serves, and wadm's repetition does not bring the bad version back. Method: a notice.
#[tokio::test]
#[ignore = "needs a NATS server; cargo xtask test contract runs it"]
async fn a_rollback_is_told() {
    let server = Server::start().await;
    let mut events = Events::listen(&server).await;
    let host = Host::join(&server).await;
    host.scale("file://one.wasm", 2, "old").await;
    events.scaled().await;
    host.scale("file://two.wasm", 2, "new").await;
    events.scaled().await;
    let (id, reason) = ("cart".to_owned(), "9 of 10 calls trapped".to_owned());
    let (from, to) = ("file://two.wasm".to_owned(), "file://one.wasm".to_owned());
    host.notices.send(Notice::RolledBack { id, from, to, reason }).unwrap();
    let failed = events.next("component_scale_failed").await;
    assert_eq!(shown(&failed), event("file://two.wasm", 2, "new"));
    assert!(failed["error"].as_str().unwrap().contains("9 of 10 calls trapped"), "{failed}");
    assert_eq!(events.scaled().await, event("file://two.wasm", 0, "new"));
    assert_eq!(events.scaled().await, event("file://one.wasm", 2, "old"));
    assert_eq!(host.inventory().await["components"][0]["image_ref"], json!("file://one.wasm"));
    let starts = host.work.log().len();
    host.scale("file://two.wasm", 2, "new").await;
    assert_eq!(shown(&events.next("component_scale_failed").await), event("file://two.wasm", 2, "new"));
    assert_eq!(host.work.log().len(), starts);
    host.scale("file://two.wasm", 2, "").await;
    assert_eq!(events.scaled().await, event("file://two.wasm", 2, "old"), "a person may try again");
}

/// Goal: config values and secrets reach a component, and their changes do while it runs. Method: put, start, put, delete.
#[tokio::test]
#[ignore = "needs a NATS server; cargo xtask test contract runs it"]
async fn configs_reach_components_and_stay_when_deleted() {
    let server = Server::start().await;
    let mut events = Events::listen(&server).await;
    let host = Host::join(&server).await;
    host.accepted("config.put.greeting", json!({"word": "hello", "host.max_instances": "1"})).await;
    let reference = json!({"name": "url", "backend": "env", "key": "CARTS_URL", "policy": "{}", "type": "secret.wasmcloud.dev/v1alpha1"});
    host.accepted("config.put.SECRET_shop-url", reference).await;
    host.scale_with("file://one.wasm", 2, "", &["greeting", "SECRET_shop-url"]).await;
    events.scaled().await;
    let pairs =
        |word: &str| vec![("word".to_owned(), word.to_owned()), ("url".to_owned(), "postgres://hunter2".to_owned())];
    assert_eq!(host.work.config("cart"), pairs("hello"));
    assert_eq!(host.work.log(), ["start file://one.wasm x1"], "the host's own key");
    host.accepted("config.put.greeting", json!({"word": "good day"})).await;
    eventually("the changed config", || host.work.config("cart") == pairs("good day")).await;

    host.accepted("config.del.greeting", Value::Null).await;
    assert_eq!(events.next("config_deleted").await["config_name"], json!("greeting"));
    let again = tokio::time::Instant::now();
    assert_eq!(events.next("config_deleted").await["config_name"], json!("greeting"), "still used");
    assert!(again.elapsed() > Duration::from_secs(1));
    assert_eq!(host.work.config("cart"), pairs("good day"));
    assert_eq!(host.ask("config.get.greeting", Value::Null).await["message"], json!("Configuration not found"));
    host.scale_with("file://one.wasm", 3, "", &["nothing"]).await;
    let failed = events.next("component_scale_failed").await;
    assert!(failed["error"].as_str().unwrap().contains("no config `nothing`"), "{failed}");
    assert!(!format!("{:?}", host.inventory().await).contains("hunter2"));
}

#[tokio::test]
#[ignore = "needs a NATS server; cargo xtask test contract runs it"]
async fn built_in_providers_start_get_their_links_and_stop() {
    let server = Server::start().await;
    let mut events = Events::listen(&server).await;
    let host = Host::join(&server).await;
    let reference = json!({"name": "carts-url", "backend": "env", "key": "CARTS_URL", "policy": "{}", "type": "secret.wasmcloud.dev/v1alpha1"});
    host.accepted("config.put.SECRET_shop-carts_url", reference).await;
    let link = json!({
        "source_id": "cart", "target": "database", "name": "default", "wit_namespace": "swiftcart", "wit_package": "postgres",
        "interfaces": ["client"], "source_config": [], "target_config": ["SECRET_shop-carts_url"],
    });
    host.accepted("link.put", link).await;
    let settings = || -> Vec<(String, String)> {
        host.work.links.lock().unwrap().iter().flat_map(|link| link.target_config.pairs()).collect()
    };
    eventually("the link", || host.work.links.lock().unwrap().len() == 1).await;
    assert_eq!(settings(), [], "nobody here needs the secret");

    let (start, stop) = (format!("provider.start.{}", host.id), format!("provider.stop.{}", host.id));
    let command = |id: &str, reference: &str| json!({"provider_id": id, "provider_ref": reference, "config": [], "annotations": {"a": "b"}});
    host.accepted(&start, command("database", "wasmcloud+builtin://postgres")).await;
    let started = events.next("provider_started").await;
    assert_eq!((&started["provider_id"], &started["annotations"]["a"]), (&json!("database"), &json!("b")));
    assert_eq!(events.next("health_check_passed").await["provider_id"], json!("database"));
    assert_eq!(settings(), [("url".to_owned(), "postgres://hunter2".to_owned())]);
    assert!(
        host.refused(&start, command("database", "wasmcloud+builtin://postgres")).await.contains("already running")
    );
    assert_eq!(host.inventory().await["providers"][0]["image_ref"], json!("wasmcloud+builtin://postgres"));
    host.notices.send(Notice::Health { id: "database".into(), healthy: false, message: "gone".into() }).unwrap();
    assert_eq!(events.next("health_check_failed").await["provider_id"], json!("database"));

    for (reference, error) in
        [("wasmcloud+builtin://none", "no such capability"), ("file:///p.par", "built-in providers only")]
    {
        host.accepted(&start, command("other", reference)).await;
        let failed = events.next("provider_start_failed").await;
        assert!(failed["error"].as_str().unwrap().contains(error), "{failed}");
        assert_eq!(failed["provider_ref"], json!(reference));
    }
    host.accepted(&stop, json!({"provider_id": "database", "host_id": host.id})).await;
    assert_eq!(events.next("provider_stopped").await["reason"], json!("normal"));
    assert!(host.refused(&stop, json!({"provider_ref": "database"})).await.contains("not running"));
    eventually("no secret is kept", || settings().is_empty()).await;
}
