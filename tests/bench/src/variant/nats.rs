//! The shop with every call sent over NATS that can go there: each component on a host of its own, so that calls between components leave the
//! process, and each capability a program of its own (`providers/wrpc`), called over wRPC. Everything else is as `wadm/local.yaml` says: links, configs,
//! secrets, policies.
//!
//! What stays in a host because it cannot leave it: `wasi:keyvalue` (prices) and `wasi:http/outgoing-handler` (the PSP), whose resources do not pass between
//! processes; the outbox relays and the timers, of which there are no programs.

mod commands;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use swiftcart_support::client::Client;
use swiftcart_support::lattice::Lattice;
use swiftcart_support::service::{LatticeHost, LatticeHostOptions};
use swiftcart_support::shop::{Application, Shop, host_secrets, machine_configs, seal_keys, store_configs};
use swiftcart_support::{Lifetime, Place, eventually};

use super::unlimited;
use crate::built::Built;
use crate::control::Control;
use crate::cpu::{Extent, Part};
use commands::Commands;

/// The hosts, each named after the component that runs there.
const HOSTS: [&str; 5] = ["gateway", "order", "inventory", "payment", "notification"];
/// The lattice.
const LATTICE: &str = "default";
/// How long the programs may take to connect.
const SERVES: Duration = Duration::from_secs(60);

/// Where a capability runs: a program that the host of this name starts, or built-ins.
#[derive(Clone, Copy)]
enum Site {
    Program(&'static str, &'static str),
    Builtin(&'static [&'static str]),
}

impl Site {
    /// By its name in the manifest.
    fn of(capability: &str) -> anyhow::Result<Self> {
        Ok(match capability {
            "http-server" => Self::Program("http", "gateway"),
            "postgres" => Self::Program("postgres", "order"),
            "redis" => Self::Program("redis", "inventory"),
            "email" => Self::Program("email", "notification"),
            "kafka" => Self::Program("kafka", "notification"),
            "keyvalue" | "outbox-inventory" => Self::Builtin(&["inventory"]),
            "http-client" | "outbox-payments" => Self::Builtin(&["payment"]),
            "outbox-orders" => Self::Builtin(&["order"]),
            // A timer calls what is on its own host.
            "timer" => Self::Builtin(&["order", "inventory", "payment", "notification"]),
            _ => anyhow::bail!("the capability {capability} of wadm/local.yaml has no place in the variant `nats` yet"),
        })
    }
}

/// The hosts, and through them the programs.
pub(crate) struct Hosts {
    hosts: BTreeMap<&'static str, LatticeHost>,
    edge_url: String,
}

impl Hosts {
    /// Starts the hosts, tells them what to run, and waits until the shop serves.
    pub(crate) async fn start(shop: &Shop, built: &Built, data: &Path, cache: &Path) -> anyhow::Result<Self> {
        let addresses = shop.addresses();
        let nats_url = addresses.nats_url.as_deref().context("there is no NATS")?;
        let place = Place::open(data, Lifetime::WithParent)?;
        let edge = SocketAddr::from(([127, 0, 0, 1], place.port("edge")?));
        let (seal_public, seal_secret) = seal_keys(&place)?;
        let manifest = Application::read(&built.root.join("wadm/local.yaml"))?;
        let mut commands = Commands::read(manifest.document())?;
        commands.configs.extend(machine_configs(addresses, edge, &seal_public, &unlimited()));
        let root = built.root.join("migrations").display().to_string();
        commands.configs.insert("schemas".to_owned(), [("migrations_root".to_owned(), root)].into());
        let control = Control(Lattice::connect(nats_url, LATTICE).await?);
        store_configs(&control.0, &commands.configs).await?;

        let mut hosts = BTreeMap::new();
        for name in HOSTS {
            let mut options = LatticeHostOptions::new(name, &built.host, nats_url, &built.artifacts);
            options.migrations_root = Some(built.root.join("migrations"));
            options.environment = host_secrets(addresses, seal_secret.clone());
            options.environment.extend(
                [
                    ("SWIFTCART_HOST_CACHE_DIR", cache.display().to_string()),
                    // Under load a call waits; giving it up early would only add to the load.
                    ("WASMCLOUD_RPC_TIMEOUT_MS", "10000".to_owned()),
                ]
                .map(|(name, value)| (name.to_owned(), value)),
            );
            hosts.insert(name, LatticeHost::start_in(&place, &options).await?);
        }
        let spread = Self { hosts, edge_url: format!("http://{edge}") };
        spread.deploy(built, &control, &commands).await?;

        let mut reachable = addresses.clone();
        reachable.edge_url = Some(spread.edge_url.clone());
        let client = Client::new(&reachable)?;
        eventually(SERVES, "the first answer of the shop", async || {
            client.get("/products", None).await?.expect_status(200).map(drop)
        })
        .await?;
        Ok(spread)
    }

    /// Links first: what starts finds them at once.
    async fn deploy(&self, built: &Built, control: &Control, commands: &Commands) -> anyhow::Result<()> {
        for link in &commands.links {
            control.link(link).await?;
        }
        for capability in &commands.capabilities {
            let mut configs = capability.configs.clone();
            let (reference, hosts) = match Site::of(&capability.name)? {
                Site::Builtin(hosts) => (capability.image.clone(), hosts.to_vec()),
                Site::Program(program, host) => {
                    let file = built.programs.join(format!("swiftcart-{program}-provider"));
                    anyhow::ensure!(file.is_file(), "{} is not there; `cargo xtask bench` builds it", file.display());
                    if program == "postgres" {
                        configs.push("schemas".to_owned());
                    }
                    (format!("file://{}", file.display()), vec![host])
                }
            };
            for host in hosts {
                control.capability(self.id(host)?, (&capability.name, &reference), &configs).await?;
            }
        }
        for one in &commands.components {
            control.component(self.id(&one.name)?, (&one.name, &one.image), one.instances, &one.configs).await?;
        }
        Ok(())
    }

    fn id(&self, host: &str) -> anyhow::Result<&str> {
        Ok(self.hosts.get(host).with_context(|| format!("there is no host for {host}"))?.id())
    }

    /// Where the edge's program listens.
    pub(crate) fn edge_url(&self) -> &str {
        &self.edge_url
    }

    /// All hosts together, and all programs together.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let pids = self.hosts.values().filter_map(|host| host.process()).map(|process| process.pid);
        pids.flat_map(|pid| [Part::new("host", pid, Extent::Own), Part::new("providers", pid, Extent::Below)]).collect()
    }

    /// Stops all.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        for host in self.hosts.values_mut() {
            host.stop().await?;
        }
        Ok(())
    }
}
