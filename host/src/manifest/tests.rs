//! Bad manifests are a good one with one thing changed; the whole error text is compared, because it is what an operator has to go by.
#![allow(clippy::unwrap_used, reason = "tests")]

use secrecy::ExposeSecret;

use super::*;

mod checks;

const GOOD: &str = r#"
apiVersion: core.oam.dev/v1beta1
kind: Application
metadata:
  name: shop
  annotations: {version: 1.2.0}
spec:
  policies:
    - name: environment
      type: policy.secret.wasmcloud.dev/v1alpha1
      properties: {backend: env}
  components:
    - name: cart
      type: component
      properties:
        image: file://cart.wasm
        config:
          - name: cart-runtime
            properties: {host.reuse: warm, greeting: hello}
        secrets:
          - name: seal-key
            properties: {policy: environment, key: SEAL_KEY}
      traits:
        - type: spreadscaler
          properties: {instances: 4}
        - type: link
          properties:
            namespace: swiftcart
            package: postgres
            interfaces: [client]
            target:
              name: database
              config:
                - name: cart-database
                  properties: {migrations: carts}
              secrets:
                - name: cart-url
                  properties: {policy: environment, key: CART_URL}
    - name: edge
      type: capability
      properties:
        image: wasmcloud+builtin://http-server
      traits:
        - type: link
          properties:
            namespace: wasi
            package: http
            interfaces: [incoming-handler]
            source:
              config: [{name: listen}]
            target: {name: cart}
    - name: database
      type: capability
      properties:
        image: wasmcloud+builtin://postgres
"#;

fn externals() -> ExternalConfigs {
    ExternalConfigs::parse("listen: {address: '127.0.0.1:0'}\nother: {host.reuse: warm, migrations: x}\n").unwrap()
}

fn secrets() -> MapSecrets {
    [("CART_URL", "postgres://cart:hunter2@db/carts"), ("SEAL_KEY", "opensesame")].into_iter().collect()
}

fn errors(yaml: &str) -> Vec<String> {
    match Manifest::parse(yaml) {
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
        Ok(manifest) => match plan(&manifest, &externals(), &secrets()) {
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
            Ok(_) => Vec::new(),
        },
    }
}

/// The good manifest with one thing changed must give exactly these errors.
fn check(from: &str, to: &str, expected: &[&str]) {
    assert!(GOOD.contains(from), "`{from}` is not in the good manifest");
    assert_eq!(errors(&GOOD.replacen(from, to, 1)), expected, "`{from}` -> `{to}`");
}

#[test]
fn a_good_manifest_becomes_a_plan() {
    let plan = plan(&Manifest::parse(GOOD).unwrap(), &externals(), &secrets()).unwrap();
    assert_eq!((plan.application.as_str(), plan.version.as_deref()), ("shop", Some("1.2.0")));
    let cart = plan.component("cart").unwrap();
    assert_eq!(
        (cart.id.as_str(), cart.image.to_string().as_str(), cart.instances),
        ("shop-cart", "file://cart.wasm", 4)
    );
    assert_eq!((cart.runtime.reuse, cart.runtime.max_instances), (Reuse::Warm { max_uses: 1_000 }, 4));
    assert_eq!(cart.config.values.keys().collect::<Vec<_>>(), ["greeting"]);
    assert_eq!(cart.config.secrets.get("seal-key").map(ExposeSecret::expose_secret), Some("opensesame"));
    assert_eq!(plan.capability("database").unwrap().kind.as_str(), "postgres");
    let out = plan.links_from("cart").next().unwrap();
    assert_eq!(
        (out.target.as_str(), out.name.as_str(), out.interfaces.as_slice()),
        ("database", "default", &["client".to_owned()][..])
    );
    let pairs: Vec<_> = out.target_config.pairs().collect();
    assert_eq!(
        pairs,
        [("migrations".into(), "carts".into()), ("url".into(), "postgres://cart:hunter2@db/carts".into())]
    );
    let inward = plan.links_to("cart").next().unwrap();
    assert_eq!((inward.source.as_str(), inward.source_config.value("address")), ("edge", Some("127.0.0.1:0")));
    let shown = format!("{plan:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("opensesame"), "{shown}");
}

#[test]
fn ids_are_those_of_wadm() {
    let yaml = GOOD
        .replace("name: shop", "name: My-Shop")
        .replacen("name: cart\n", "name: Cart-One\n", 1)
        .replace("{name: cart}", "{name: Cart-One}");
    let plan = plan(&Manifest::parse(&yaml).unwrap(), &externals(), &secrets()).unwrap();
    assert_eq!(plan.component("Cart-One").unwrap().id, "my_shop-cart_one");
}

#[test]
fn the_shape_is_strict_and_errors_say_where() {
    let cart = "spec.components[0] (`cart`)";
    for (from, to, expected) in [
        ("kind: Application", "kind: App", "kind: `App` is not supported, expected `Application`".to_owned()),
        ("core.oam.dev/v1beta1", "v1", "apiVersion: `v1` is not supported, expected `core.oam.dev/v1beta1`".into()),
        ("  annotations: {version: 1.2.0}\n", "", "metadata: missing field `annotations`".into()),
        (
            "version: 1.2.0",
            "version: 1.2",
            "metadata.annotations.version: invalid type: floating point `1.2`, expected a string (write it in quotes)"
                .into(),
        ),
        (
            "  policies:",
            "  policy: []\n  policies:",
            "spec.policy: unknown field `policy`, expected `components` or `policies`".into(),
        ),
        (
            "image: file://cart.wasm",
            "imag: file://cart.wasm",
            format!(
                "{cart}.properties.imag: unknown field `imag`, expected one of `image`, `application`, `id`, `config`, `secrets`"
            ),
        ),
        (
            "type: component",
            "type: actor",
            format!("{cart}.type: unknown variant `actor`, expected `component` or `capability`"),
        ),
        (
            "type: spreadscaler",
            "type: scaler",
            format!(
                "{cart}.traits[0].type: unknown variant `scaler`, expected one of `spreadscaler`, `daemonscaler`, `link`"
            ),
        ),
        (
            "{instances: 4}",
            "{instances: -4}",
            format!("{cart}.traits[0].properties.instances: invalid value: integer `-4`, expected u32"),
        ),
        (
            "{instances: 4}",
            "{replicas: 4}",
            format!("{cart}.traits[0].properties.replicas: unknown field `replicas`, expected `instances` or `spread`"),
        ),
        (
            "interfaces: [client]",
            "interfaces: client",
            format!("{cart}.traits[1].properties.interfaces: invalid type: string \"client\", expected a sequence"),
        ),
        (
            "name: database\n",
            "named: database\n",
            format!(
                "{cart}.traits[1].properties.target.named: unknown field `named`, expected one of `name`, `config`, `secrets`"
            ),
        ),
        (
            "{migrations: carts}",
            "{max_connections: 4}",
            format!(
                "{cart}.traits[1].properties.target.config[0].properties.max_connections: invalid type: integer `4`, expected a string (write it in quotes)"
            ),
        ),
        (
            "key: CART_URL",
            "env: CART_URL",
            format!(
                "{cart}.traits[1].properties.target.secrets[0].properties.env: unknown field `env`, expected one of `policy`, `key`, `field`, `version`"
            ),
        ),
    ] {
        check(from, to, &[&expected]);
    }
    let error = errors(&GOOD.replace("kind: Application", "kind: Application\nkind: Application"));
    assert!(
        matches!(error.as_slice(), [error] if error.starts_with("YAML: ") && error.contains("duplicate")),
        "{error:?}"
    );
    assert!(matches!(errors("a: [").as_slice(), [error] if error.starts_with("YAML: ")));
    assert_eq!(errors(""), ["manifest: missing field `apiVersion`"]);
    let empty = "apiVersion: core.oam.dev/v1beta1\nkind: Application\nmetadata: {name: a, annotations: {}}\nspec: {components: []}\n";
    assert_eq!(errors(empty), ["spec.components: is empty: nothing would run"]);
}

#[test]
fn each_component_and_trait_is_read_on_its_own() {
    let yaml = GOOD.replacen("image: file", "imag: file", 1).replacen("target: {name: cart}", "target: {nam: cart}", 1);
    assert_eq!(
        errors(&yaml),
        [
            "spec.components[0] (`cart`).properties.imag: unknown field `imag`, expected one of `image`, `application`, `id`, `config`, `secrets`",
            "spec.components[1] (`edge`).traits[0].properties.target.nam: unknown field `nam`, expected one of `name`, `config`, `secrets`",
        ]
    );
}
