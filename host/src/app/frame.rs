//! What every way of running has around it: admin port, metrics, signals. Opened first, so that one can see why a host is not ready, and
//! closed last.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::health::{AdminServer, AdminState, Readiness};
use crate::limits;
use crate::shutdown::{Ending, Shutdown};
use crate::telemetry;
use crate::workload::{Ground, Workload};

/// What every way of running has around it: admin port, metrics, signals.
pub(super) struct Frame {
    /// What runs.
    pub workload: Workload,
    /// Whether traffic is welcome.
    pub readiness: Readiness,
    /// How the host ends.
    pub shutdown: Shutdown,
    /// Where health, metrics and inventory are.
    pub admin: SocketAddr,
    listening: JoinHandle<Ending>,
    upkeep: JoinHandle<()>,
    serving_admin: JoinHandle<()>,
}

impl Frame {
    /// Opens the admin port and listens for signals; nothing runs yet. `known` is shown in the inventory. The receiver is that of
    /// [`Workload::new`].
    ///
    /// # Errors
    /// When metrics or signal handlers cannot be installed.
    pub(super) fn raise(
        ground: Ground,
        admin: AdminServer,
        drain_timeout: Duration,
        known: Value,
    ) -> anyhow::Result<(Self, mpsc::Receiver<anyhow::Error>)> {
        let metrics = telemetry::init_metrics()?;
        let (shutdown, listener) = Shutdown::listen(drain_timeout)?;
        let address = admin.address();
        let readiness = ground.readiness.clone();
        let (workload, failures) = Workload::new(ground);
        let state = AdminState {
            readiness: readiness.clone(),
            metrics: metrics.clone(),
            inventory: Box::new(inventory(workload.clone(), known)),
            guards: workload.guards(),
        };
        let frame = Self {
            workload,
            readiness,
            admin: address,
            listening: tokio::spawn(listener.run()),
            upkeep: tokio::spawn(telemetry::keep_up(metrics, shutdown.drained.clone())),
            serving_admin: tokio::spawn(admin.run(state, shutdown.drained.clone())),
            shutdown,
        };
        Ok((frame, failures))
    }

    /// All that must run runs.
    pub(super) fn ready(&self) {
        self.readiness.started();
        tracing::info!(listening = ?self.workload.listening(), "ready");
    }

    /// From the first signal to the end.
    ///
    /// # Errors
    /// When the signal listener is gone, which cannot be.
    pub(super) async fn lower(&mut self) -> anyhow::Result<Ending> {
        self.readiness.draining();
        tokio::select! {
            () = async {
                self.workload.close().await;
                self.workload.drain(limits::DRAIN).await;
            } => {}
            () = self.shutdown.drained.cancelled() => {}
        }
        self.end().await
    }

    /// The end, when everything has been drained already.
    ///
    /// # Errors
    /// As [`lower`](Self::lower).
    pub(super) async fn end(&mut self) -> anyhow::Result<Ending> {
        self.shutdown.drained.cancel();
        let ending = (&mut self.listening).await.context("the signal listener ended")?;
        let _ = tokio::join!(&mut self.serving_admin, &mut self.upkeep);
        tracing::info!(?ending, "stopped");
        Ok(ending)
    }
}

fn inventory(workload: Workload, known: Value) -> impl Fn() -> Value + Send + Sync {
    let began = Instant::now();
    move || {
        let mut all = workload.inventory();
        if let (Some(all), Some(known)) = (all.as_object_mut(), known.as_object()) {
            all.extend(known.clone());
            let host = all.entry("host").or_insert_with(|| json!({}));
            if let Some(host) = host.as_object_mut() {
                host.insert("version".to_owned(), json!(env!("CARGO_PKG_VERSION")));
                host.insert("uptimeSeconds".to_owned(), json!(began.elapsed().as_secs()));
            }
        }
        all
    }
}
