//! Apache Kafka in KRaft mode: one node, or one of several. Invariant: the data folder is formatted once, for one cluster id; topics are
//! never made by accident.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::try_join_all;

use super::{Ready, Service, is_service};
use crate::place::Place;
use crate::process::{Launch, StopSignal};
use crate::tools::KafkaProgram;

/// One node of a cluster; all nodes of a cluster are described before the first is started.
#[derive(Clone, Debug)]
pub struct KafkaNode {
    /// From 1 on.
    pub node_id: u32,
    /// All controllers of the cluster as (node id, controller port).
    pub voters: Vec<(u32, u16)>,
    /// Where clients connect.
    pub port: u16,
    /// Copies of each partition of the internal topics, and the default for others.
    pub replication_factor: u32,
    /// Heap in MiB.
    pub heap_mib: u32,
    /// Further broker settings, such as `broker.session.timeout.ms`.
    pub settings: Vec<(String, String)>,
}

impl KafkaNode {
    /// A cluster of `count` nodes on ports of this place.
    ///
    /// # Errors
    /// When there are no free ports.
    pub fn cluster(place: &Place, count: u32) -> anyhow::Result<Vec<Self>> {
        let name = |node_id: u32| if count == 1 { "kafka".to_owned() } else { format!("kafka-{node_id}") };
        let voters: Vec<(u32, u16)> = (1..=count)
            .map(|node_id| Ok((node_id, place.port(&format!("{}-controller", name(node_id)))?)))
            .collect::<anyhow::Result<_>>()?;
        (1..=count)
            .map(|node_id| {
                Ok(Self {
                    node_id,
                    voters: voters.clone(),
                    port: place.port(&name(node_id))?,
                    replication_factor: count.min(3),
                    heap_mib: if count == 1 { 512 } else { 384 },
                    settings: Vec::new(),
                })
            })
            .collect()
    }

    fn name(&self) -> String {
        if self.voters.len() == 1 { "kafka".to_owned() } else { format!("kafka-{}", self.node_id) }
    }

    fn properties(&self, data: &Path) -> String {
        let voters: Vec<String> =
            self.voters.iter().map(|(node_id, port)| format!("{node_id}@127.0.0.1:{port}")).collect();
        let controller_port =
            self.voters.iter().find(|(node_id, _)| *node_id == self.node_id).map_or(0, |(_, port)| *port);
        let (port, copies) = (self.port, self.replication_factor);
        let in_sync = copies.div_ceil(2);
        let mut lines = vec![
            "process.roles=broker,controller".to_owned(),
            format!("node.id={}", self.node_id),
            format!("controller.quorum.voters={}", voters.join(",")),
            format!("listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}"),
            format!("advertised.listeners=PLAINTEXT://127.0.0.1:{port}"),
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
            "inter.broker.listener.name=PLAINTEXT".to_owned(),
            "controller.listener.names=CONTROLLER".to_owned(),
            format!("log.dirs={}", data.display()),
            "auto.create.topics.enable=false".to_owned(),
            format!("default.replication.factor={copies}"),
            format!("min.insync.replicas={in_sync}"),
            // Few partitions for the internal topics: the first consumer waits until all of them are made.
            "offsets.topic.num.partitions=2".to_owned(),
            format!("offsets.topic.replication.factor={copies}"),
            "transaction.state.log.num.partitions=2".to_owned(),
            format!("transaction.state.log.replication.factor={copies}"),
            format!("transaction.state.log.min.isr={in_sync}"),
            "share.coordinator.state.topic.num.partitions=2".to_owned(),
            format!("share.coordinator.state.topic.replication.factor={copies}"),
            format!("share.coordinator.state.topic.min.isr={in_sync}"),
            // The pause is for groups whose members trickle in; ours are there at once.
            "group.initial.rebalance.delay.ms=0".to_owned(),
            // A killed broker is let in again only when its old session has ended (9 s by default).
            "broker.session.timeout.ms=4000".to_owned(),
            "broker.heartbeat.interval.ms=500".to_owned(),
            "log.cleaner.dedupe.buffer.size=16777216".to_owned(),
            "num.network.threads=2".to_owned(),
            "num.io.threads=4".to_owned(),
        ];
        // A later line wins.
        lines.extend(self.settings.iter().map(|(name, value)| format!("{name}={value}")));
        lines.push(String::new());
        lines.join("\n")
    }
}

/// A Kafka node.
#[derive(Debug)]
pub struct Kafka {
    service: Service,
    port: u16,
}

is_service!(Kafka);

impl Kafka {
    /// A cluster of one.
    ///
    /// # Errors
    /// As `start_node`.
    pub async fn start_in(place: &Place, program: &KafkaProgram) -> anyhow::Result<Self> {
        let nodes = KafkaNode::cluster(place, 1)?;
        let node = nodes.first().context("a cluster of one has a node")?;
        Self::start_node(place, program, node).await
    }

    /// A cluster of several nodes, the nodes in order.
    ///
    /// # Errors
    /// As `start_node`.
    pub async fn start_cluster(place: &Place, program: &KafkaProgram, count: u32) -> anyhow::Result<Vec<Self>> {
        // The id of the cluster is made once, before the nodes are formatted side by side.
        cluster_id(place)?;
        let nodes = KafkaNode::cluster(place, count)?;
        try_join_all(nodes.iter().map(|node| Self::start_node(place, program, node))).await
    }

    /// Starts one node; it is ready when a majority of the cluster's brokers is live, so start the nodes of a cluster concurrently.
    ///
    /// # Errors
    /// When it cannot be formatted or does not get ready, with the end of the log.
    pub async fn start_node(place: &Place, program: &KafkaProgram, node: &KafkaNode) -> anyhow::Result<Self> {
        let name = node.name();
        let folder = place.folder(&name)?;
        let data = folder.join("data");
        let properties = folder.join("server.properties");
        fs::write(&properties, node.properties(&data)).with_context(|| format!("writing {}", properties.display()))?;
        let log_config = folder.join("log4j2.properties");
        fs::write(&log_config, LOG_CONFIG)?;
        let mut java: Vec<_> =
            ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"].map(String::from).to_vec();
        java.push(format!("-Xmx{}m", node.heap_mib));
        java.push(format!("-Dlog4j2.configurationFile={}", log_config.display()));
        java.extend(["-cp".to_owned(), format!("{}/*", program.libs.display())]);
        if !data.join("meta.properties").exists() {
            // The same for all nodes of the cluster, since they share the place.
            let cluster_id = cluster_id(place)?;
            let mut command = Command::new(&program.java);
            command
                .args(&java)
                .args(["kafka.tools.StorageTool", "format", "--ignore-formatted"])
                // In one word: an id may begin with "-", and as a word of its own it would be taken for an option.
                .arg(format!("--cluster-id={cluster_id}"))
                .arg("-c")
                .arg(&properties);
            let data = data.clone();
            tokio::task::spawn_blocking(move || format(&mut command, &data)).await??;
        }
        let mut arguments: Vec<std::ffi::OsString> = java.into_iter().map(Into::into).collect();
        arguments.extend(["kafka.Kafka".into(), properties.into_os_string()]);
        let launch = Launch {
            log: place.log(&name)?,
            name,
            program: program.java.clone(),
            arguments,
            environment: Vec::new(),
            folder,
            user: None,
            stop_signal: StopSignal::Terminate,
            lifetime: place.lifetime(),
        };
        let brokers = u32::try_from(node.voters.len() / 2 + 1)?;
        let ready = Ready::Kafka { port: node.port, brokers };
        let mut kafka = Self { service: Service::new(launch, ready, Duration::from_secs(90)), port: node.port };
        kafka.start().await?;
        Ok(kafka)
    }

    /// The port for clients.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// For `bootstrap.servers`.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

fn cluster_id(place: &Place) -> anyhow::Result<String> {
    place.secret_or("kafka-cluster-id", || URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>()))
}

fn format(command: &mut Command, data: &PathBuf) -> anyhow::Result<()> {
    // Half a formatting (no meta.properties) is begun anew.
    if data.exists() {
        fs::remove_dir_all(data)?;
    }
    let output = command.stdin(Stdio::null()).output().context("starting Kafka's storage tool")?;
    if !output.status.success() {
        bail!(
            "formatting Kafka's data folder ended with {}: {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

const LOG_CONFIG: &str = "status=error
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %c: %m%n
rootLogger.level=warn
rootLogger.appenderRef.console.ref=console
logger.server.name=kafka.server.KafkaRaftServer
logger.server.level=info
";
