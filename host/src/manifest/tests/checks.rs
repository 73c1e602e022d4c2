//! Manifests of the right shape that ask for what cannot be.

use super::{GOOD, check, errors};

#[test]
fn names_and_ids_are_checked() {
    check("name: shop", "name: my.shop", &["metadata.name `my.shop` is no name: use letters, digits, `-` and `_`"]);
    check(
        "version: 1.2.0",
        "version: latest",
        &["annotation `version` is `latest`, which wadm refuses: give a real version"],
    );
    check(
        "- name: edge",
        "- name: the edge",
        &["capability has no name that can be used (`the edge`): use letters, digits, `-` and `_`"],
    );
    check(
        "- name: edge",
        "- name: cart",
        &["the name `cart` is used by more than one component or capability: rename one"],
    );
    check(
        "image: file://cart.wasm",
        "image: file://cart.wasm\n        id: shop-edge",
        &["`cart` and `edge` have the same id `shop-edge`: give one another `properties.id`"],
    );
    check(
        "image: file://cart.wasm",
        "image: file://cart.wasm\n        id: a.b",
        &["component `cart`: the id `a.b` is none: use letters, digits, `-` and `_`"],
    );
}

#[test]
fn images_and_scalers_are_checked() {
    check("        image: file://cart.wasm\n", "", &["component `cart` has no image: add `properties.image`"]);
    check(
        "image: file://cart.wasm",
        "image: ftp://cart.wasm",
        &[
            "component `cart`: image `ftp://cart.wasm` has an unknown scheme: expected `file://`, `oci://`, `wasmcloud+builtin://` or `host/name:tag`",
        ],
    );
    check(
        "image: file://cart.wasm",
        "image: wasmcloud+builtin://redis",
        &["component `cart`: image `wasmcloud+builtin://redis` is a capability of the host: set `type: capability`"],
    );
    check(
        "image: wasmcloud+builtin://postgres",
        "image: ghcr.io/shop/postgres:1",
        &[
            "capability `database`: image `ghcr.io/shop/postgres:1` is not a capability of the host: expected `wasmcloud+builtin://name`",
        ],
    );
    check(
        "image: wasmcloud+builtin://postgres",
        "application: {name: common, component: db}",
        &[
            "capability `database` belongs to the application `common` (component `db`): this host runs one application, give it an `image` instead",
        ],
    );
    let range = format!("expected 1 to {}", crate::limits::MAX_INSTANCES);
    check("{instances: 4}", "{instances: 0}", &[&format!("component `cart`: `instances` is 0, {range}")]);
    check("{instances: 4}", "{instances: 100000}", &[&format!("component `cart`: `instances` is 100000, {range}")]);
    check(
        "{instances: 4}\n",
        "{instances: 4}\n        - {type: daemonscaler, properties: {instances: 1}}\n",
        &["component `cart` has 2 scalers: keep one"],
    );
    check(
        "        - type: spreadscaler\n          properties: {instances: 4}\n",
        "",
        &[
            "component `cart` has no scaler, so that wadm would never start it: add a trait `spreadscaler` with `instances`",
        ],
    );
    let second = "    - name: second\n      type: component\n      properties: {image: \"file://a.wasm\"}\n      traits: [{type: spreadscaler, properties: {instances: 997}}]\n";
    check(
        "    - name: edge\n",
        &format!("{second}    - name: edge\n"),
        &[
            "the components ask for 1001 instances together, the host has room for 1000: lower `instances` or `host.max_instances`",
        ],
    );
}

#[test]
fn links_are_checked() {
    let link = "link `cart` -> `database` (swiftcart:postgres)";
    check(
        "target: {name: cart}",
        "target: {name: card}",
        &[
            "link `edge` -> `card` (wasi:http) leads nowhere: there is no component or capability with the name `card`, expected one of: cart, edge, database",
        ],
    );
    check(
        "target: {name: cart}",
        "target: {name: database}",
        &["link `edge` -> `database` (wasi:http) joins two capabilities: one end must be a component"],
    );
    check("interfaces: [client]", "interfaces: []", &[&format!("{link} has no interfaces: list at least one")]);
    check(
        "interfaces: [client]",
        "interfaces: [client@0.1.0]",
        &[&format!(
            "{link}: interface `client@0.1.0` is no WIT name: use lower-case words joined by `-`, without a version"
        )],
    );
    check(
        "namespace: swiftcart",
        "namespace: Swift-",
        &[
            "link `cart` -> `database` (Swift-:postgres): namespace `Swift-` is no WIT name: use lower-case words joined by `-`, without a version",
        ],
    );
    check(
        "namespace: swiftcart",
        "name: a b\n            namespace: swiftcart",
        &[&format!("{link}: the name `a b` is none: use letters, digits, `-` and `_`")],
    );
    let again = "        - {type: link, properties: {namespace: swiftcart, package: postgres, interfaces: [client], target: {name: edge}}}\n";
    check(
        "    - name: edge\n",
        &format!("{again}    - name: edge\n"),
        &[
            "`cart` has two links named `default` for swiftcart:postgres/client, to `database` and to `edge`: give one another `name`",
        ],
    );
    let named = again.replace("namespace", "name: second, namespace");
    check("    - name: edge\n", &format!("{named}    - name: edge\n"), &[]);
}

#[test]
fn configs_are_checked() {
    let (cart, target) = ("component `cart`", "link `cart` -> `database` (swiftcart:postgres), target");
    check(
        "{name: listen}",
        "{name: lisen}",
        &[
            "link `edge` -> `cart` (wasi:http), source: there is no external config `lisen` (without `properties` it is looked up in the config file), expected one of: listen, other",
        ],
    );
    check(
        "{name: listen}",
        "{name: other}",
        &[
            "link `edge` -> `cart` (wasi:http), source: `host.reuse` is an option for components and has no meaning here: remove it",
        ],
    );
    check(
        "{name: listen}",
        "{name: listen}, {name: listen}",
        &[
            "link `edge` -> `cart` (wasi:http), source: the key `address` is given by `listen` and by `listen`: remove one",
        ],
    );
    check(
        "name: cart-database\n",
        "name: Cart_Runtime\n",
        &[&format!(
            "the config `Cart_Runtime` is defined by {cart} and by {target}: wadm stores both under one name, rename one (or make it external)"
        )],
    );
    check(
        "{migrations: carts}",
        "{url: carts}",
        &[&format!("{target}: the key `url` is given by `cart-database` and by `cart-url`: remove one")],
    );
    check("{migrations: carts}", "{'': carts}", &[&format!("{target}: the config `cart-database` has an empty key")]);
    check(
        "name: cart-database",
        "name: cart.database",
        &[&format!("{target}: the config or secret name `cart.database` is none: use letters, digits, `-` and `_`")],
    );
    check(
        "host.reuse: warm",
        "host.reuse: hot",
        &["component `cart`: `host.reuse` is `hot`, expected `fresh` or `warm`"],
    );
    check(
        "name: seal-key",
        "name: host.key",
        &[
            &format!("{cart}: the config or secret name `host.key` is none: use letters, digits, `-` and `_`"),
            &format!("{cart}: `host.key` is for the host and cannot be a secret"),
        ],
    );
}

#[test]
fn a_link_config_is_defined_once_even_with_the_same_content() {
    let source =
        "source: {config: [{name: cart-database, properties: {migrations: carts}}]}\n            target: {name: cart}";
    let expected = "the config `cart-database` is defined by link `cart` -> `database` (swiftcart:postgres), target and by link `edge` -> `cart` (wasi:http), source: wadm stores both under one name, rename one (or make it external)";
    check("source:\n              config: [{name: listen}]\n            target: {name: cart}", source, &[expected]);
}

#[test]
fn secrets_are_checked() {
    let target = "link `cart` -> `database` (swiftcart:postgres), target";
    check(
        "key: CART_URL",
        "key: CART_URI",
        &[&format!("{target}: the secret `cart-url` is missing: environment variable `CART_URI` is not set")],
    );
    check(
        "policy: environment, key: CART_URL",
        "policy: env, key: CART_URL",
        &[&format!(
            "{target}: the secret `cart-url` names the policy `env`, which is not there: add it to `spec.policies`"
        )],
    );
    check(
        "{backend: env}",
        "{backend: vault}",
        &["the policy `environment` has the backend `vault`, expected `env` or `file`"],
    );
    check("{backend: env}", "{}", &["the policy `environment` has no property `backend`: expected `env` or `file`"]);
    check(
        "{backend: env}",
        "{backend: env, path: x}",
        &["the policy `environment` has the property `path`, which has no meaning: remove it"],
    );
    check(
        "type: policy.secret",
        "type: policy.other",
        &[
            "the policy `environment` has the type `policy.other.wasmcloud.dev/v1alpha1`, expected `policy.secret.wasmcloud.dev/v1alpha1`",
        ],
    );
    let policy =
        "    - name: environment\n      type: policy.secret.wasmcloud.dev/v1alpha1\n      properties: {backend: env}\n";
    check(policy, &policy.repeat(2), &["the policy `environment` is there twice: rename one"]);
    check(
        "key: CART_URL",
        "key: CART_URL, version: '2', field: a",
        &[
            &format!(
                "{target}: the secret `cart-url` has a `field`, which the backends `env` and `file` do not know: remove it"
            ),
            &format!(
                "{target}: the secret `cart-url` has a `version`, which the backends `env` and `file` do not know: remove it"
            ),
        ],
    );
    check(
        "name: seal-key",
        "name: cart-url",
        &[&format!(
            "the secret `cart-url` is defined by component `cart` and by {target} with different keys: wadm stores both under one name, rename one to `<prefix>-url`"
        )],
    );
}

#[test]
fn all_problems_are_told_at_once() {
    let yaml = GOOD
        .replace("{instances: 4}", "{instances: 0}")
        .replace("{name: listen}", "{name: lisen}")
        .replace("key: CART_URL", "key: X")
        .replace("key: SEAL_KEY", "key: Y");
    let errors = errors(&yaml);
    assert_eq!(errors.len(), 4, "{errors:#?}");
}
