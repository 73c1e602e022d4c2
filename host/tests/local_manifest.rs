//! Goal: the manifest of this repository can be planned. Method: read it, with made-up values for what it leaves open.
#![allow(clippy::unwrap_used, reason = "tests")]

use swiftcart_host::manifest::{ExternalConfigs, Manifest, MapSecrets, Reuse, plan};

#[test]
fn the_local_manifest_makes_a_plan() {
    let manifest = Manifest::parse(include_str!("../../wadm/local.yaml")).unwrap();
    let names = ["kafka", "edge", "psp", "psp-egress", "mail", "seal"];
    let externals: ExternalConfigs =
        names.into_iter().map(|name| (name.to_owned(), [(format!("{name}_key"), "x".to_owned())].into())).collect();
    let databases =
        ["ORDERS", "PAYMENTS", "INVENTORY", "NOTIFICATIONS"].map(|name| format!("SWIFTCART_{name}_DATABASE_URL"));
    let others = ["REDIS_URL", "SMTP_URL", "PSP_SECRET_KEY", "PSP_WEBHOOK_SECRETS", "MAIL_SEAL_SECRET_KEY"]
        .map(|name| format!("SWIFTCART_{name}"));
    let secrets: MapSecrets =
        databases.into_iter().chain(others).map(|name| (name.clone(), format!("value of {name}"))).collect();
    let plan = plan(&manifest, &externals, &secrets).unwrap();
    assert_eq!((plan.components.len(), plan.capabilities.len(), plan.links.len()), (5, 11, 22));
    for link in plan.links.iter().filter(|link| link.target == "postgres") {
        assert!(
            link.target_config.secrets.contains_key("url") && link.target_config.value("migrations").is_some(),
            "{link:?}"
        );
    }
    for relay in plan.capabilities.iter().filter(|capability| capability.kind.as_str() == "outbox") {
        assert!(relay.config.secrets.contains_key("url") && relay.config.value("topics").is_some(), "{relay:?}");
    }
    assert!(plan.components.iter().all(|component| matches!(component.runtime.reuse, Reuse::Warm { .. })));
}
