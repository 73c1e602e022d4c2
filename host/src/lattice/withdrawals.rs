//! Hears wadm say that an application was undeployed. wadm counts what runs by annotations, so it sends no command for the old version of a
//! component whose upgrade was refused or rolled back (ADR 0011); without this ear that version would be left over.

use std::sync::Arc;

use async_nats::{Client, Subscriber};
use futures::StreamExt as _;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::LatticeError;
use super::commands::Components;

/// The event, as far as it matters: `com.wadm.manifest_unpublished` of wadm 0.21.
#[derive(Deserialize)]
struct Event {
    data: Withdrawal,
}

#[derive(Deserialize)]
struct Withdrawal {
    name: String,
}

/// wadm tells it on the connection for control messages.
pub(crate) async fn subscribe(nats: &Client, lattice: &str) -> Result<Subscriber, LatticeError> {
    let subject = format!("wadm.evt.{lattice}.manifest_unpublished");
    nats.subscribe(subject).await.map_err(|error| LatticeError::Subscribe(error.to_string()))
}

/// Listens until told to stop.
pub(crate) async fn listen(mut events: Subscriber, components: Arc<Components>, stop: CancellationToken) {
    loop {
        let message = tokio::select! {
            message = events.next() => message,
            () = stop.cancelled() => return,
        };
        let Some(message) = message else { return };
        match serde_json::from_slice::<Event>(&message.payload) {
            Ok(event) => components.withdraw(&event.data.name),
            Err(error) => tracing::warn!(%error, "an event of wadm has another form"),
        }
    }
}
