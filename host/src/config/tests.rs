//! Arguments as a shell gives them, files in temporary folders.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use secrecy::ExposeSecret;

use super::*;
use crate::manifest::MapSecrets;

const MANIFEST: &str = r#"
apiVersion: core.oam.dev/v1beta1
kind: Application
metadata: {name: shop, annotations: {}}
spec:
  policies:
    - {name: environment, type: policy.secret.wasmcloud.dev/v1alpha1, properties: {backend: env}}
  components:
    - name: cart
      type: component
      properties: {image: "file://cart.wasm"}
      traits:
        - {type: spreadscaler, properties: {instances: 1}}
        - type: link
          properties:
            namespace: swiftcart
            package: postgres
            interfaces: [client]
            target:
              name: database
              config: [{name: cart-database, properties: {migrations: carts}}, {name: pool}]
              secrets: [{name: cart-url, properties: {policy: environment, key: CART_URL}}]
    - name: database
      type: capability
      properties: {image: "wasmcloud+builtin://postgres"}
"#;

struct Files {
    folder: tempfile::TempDir,
    arguments: HostArguments,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("migrations/carts")).unwrap();
        std::fs::write(root.join("cart.wasm"), b"wasm").unwrap();
        std::fs::write(root.join("manifest.yaml"), MANIFEST).unwrap();
        std::fs::write(root.join("config.yaml"), "pool: {max_connections: 4}\n").unwrap();
        let arguments = HostArguments {
            manifest: root.join("manifest.yaml"),
            artifact_root: root.into(),
            migrations_root: Some(root.join("migrations")),
            config_file: Some(root.join("config.yaml")),
            cache_dir: root.join("cache"),
            admin_address: DEFAULT_ADMIN_ADDRESS,
            drain_timeout_ms: 500,
        };
        Self { folder, arguments }
    }

    fn load(&self) -> Result<HostConfig, String> {
        let secrets: MapSecrets = [("CART_URL", "postgres://cart:hunter2@db/carts")].into_iter().collect();
        let root = self.folder.path().to_str().unwrap();
        self.arguments.load(&secrets).map_err(|error| error.to_string().replace(root, "ROOT"))
    }
}

#[test]
fn all_arguments_are_read() {
    let run = [
        "host",
        "run",
        "--manifest",
        "m.yaml",
        "--artifact-root",
        "a",
        "--cache-dir",
        "c",
        "--admin-address",
        "127.0.0.1:0",
    ];
    let cli = Cli::try_parse_from(run.into_iter().chain(["--log-format", "json", "--log-filter", "warn"])).unwrap();
    let Command::Run(arguments) = cli.command.unwrap() else { panic!("not run") };
    assert_eq!(
        (arguments.manifest, arguments.admin_address.port(), arguments.drain_timeout_ms),
        ("m.yaml".into(), 0, 20_000)
    );
    assert_eq!(cli.log.config(), LogConfig { format: LogFormat::Json, filter: "warn".into() });

    let check =
        ["host", "--log-format", "text", "check", "--manifest", "m.yaml", "--artifact-root", "a", "--cache-dir", "c"];
    let cli = Cli::try_parse_from(check).unwrap();
    assert!(matches!(cli.command, Some(Command::Check(_))));
    assert_eq!(cli.log.config().format, LogFormat::Text);
}

#[test]
fn wrong_arguments_are_refused() {
    let base = ["host", "run", "--manifest", "m.yaml", "--artifact-root", "a", "--cache-dir", "c"];
    for wrong in
        [["--log-format", "xml"], ["--admin-address", "localhost"], ["--drain-timeout-ms", "0"], ["--manifests", "x"]]
    {
        assert!(Cli::try_parse_from(base.into_iter().chain(wrong)).is_err(), "{wrong:?}");
    }
    assert!(Cli::try_parse_from(["host", "run"]).is_err());
}

#[test]
fn a_good_set_of_files_makes_a_config() {
    let config = Files::new().load().unwrap();
    let link = config.plan.links.first().unwrap();
    assert_eq!(link.target_config.value("max_connections"), Some("4"));
    assert_eq!(config.drain_timeout, Duration::from_millis(500));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn each_stage_names_its_file_and_all_its_problems() {
    let mut files = Files::new();
    let root = files.folder.path().to_owned();
    std::fs::remove_file(root.join("cart.wasm")).unwrap();
    std::fs::remove_dir(root.join("migrations/carts")).unwrap();
    assert_eq!(
        files.load().unwrap_err(),
        "files:\n  - component `cart`: there is no file ROOT/cart.wasm: build it, or set --artifact-root\
         \n  - link `cart` -> `database` (swiftcart:postgres): there is no folder ROOT/migrations/carts with migrations"
    );
    files.arguments.migrations_root = None;
    assert!(files.load().unwrap_err().contains("migrations `carts` need --migrations-root"));

    files.arguments.artifact_root = root.join("nowhere");
    assert_eq!(files.load().unwrap_err(), "files:\n  - --artifact-root: there is no folder ROOT/nowhere");

    std::fs::write(root.join("manifest.yaml"), MANIFEST.replace("migrations: carts", "migrations: ../carts")).unwrap();
    files.arguments.artifact_root = root.clone();
    assert!(files.load().unwrap_err().contains("migrations `../carts` is a path"));

    files.arguments.config_file = None;
    assert!(files.load().unwrap_err().starts_with("manifest ROOT/manifest.yaml:\n  - link `cart` -> `database` (swiftcart:postgres), target: there is no external config `pool`"));

    std::fs::write(root.join("manifest.yaml"), MANIFEST.replace("kind: Application", "kind: Apple")).unwrap();
    assert_eq!(
        files.load().unwrap_err(),
        "manifest ROOT/manifest.yaml:\n  - kind: `Apple` is not supported, expected `Application`"
    );

    std::fs::write(root.join("config.yaml"), "pool: [1]").unwrap();
    files.arguments.config_file = Some(root.join("config.yaml"));
    assert!(files.load().unwrap_err().starts_with("config file ROOT/config.yaml:\n  - pool: invalid type: sequence"));

    files.arguments.config_file = Some(root.join("other.yaml"));
    assert!(files.load().unwrap_err().starts_with("config file ROOT/other.yaml cannot be read: No such file"));
}

#[test]
fn secrets_come_from_files_and_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("good"), "hunter2\n").unwrap();
    std::fs::write(path("empty"), "\n").unwrap();
    std::fs::write(path("binary"), [0xff, 0xfe]).unwrap();
    std::fs::write(path("large"), vec![b'a'; 70_000]).unwrap();
    let read = |name: &str| ProcessSecrets.read(SecretBackend::File, &path(name));
    assert_eq!(read("good").unwrap().expose_secret(), "hunter2");
    assert_eq!(read("empty").unwrap_err(), SecretError::Empty(path("empty")));
    assert_eq!(read("binary").unwrap_err(), SecretError::NotText(path("binary")));
    assert_eq!(
        read("large").unwrap_err(),
        SecretError::TooLarge { path: path("large"), limit_bytes: MAX_SECRET_BYTES }
    );
    assert!(matches!(read("missing").unwrap_err(), SecretError::Unreadable { .. }));

    let environment = |key: &str| ProcessSecrets.read(SecretBackend::Env, key);
    assert!(environment("PATH").is_ok());
    assert_eq!(
        environment("SWIFTCART_TEST_NOT_SET").unwrap_err(),
        SecretError::NotSet("SWIFTCART_TEST_NOT_SET".into())
    );
}
