//! Atomic scripts.

use std::sync::Arc;

use swiftcart_provider_redis as library;

use super::KeyValue;
use crate::bindings::swiftcart::redis::scripts::{Error, Item, Script};
use crate::runtime::{Caller, Clients, Server};

const INTERFACE: &str = "swiftcart:redis/scripts";

type Parameters = (Script, Vec<String>, Vec<String>);
type Answer = Result<Vec<Item>, Error>;

/// Serves the interface.
pub(super) async fn serve(server: &Server, clients: &Arc<Clients<KeyValue>>) -> anyhow::Result<()> {
    let clients = clients.clone();
    let handle = move |caller, parameters| {
        let clients = clients.clone();
        async move { (run(&clients, caller, parameters).await,) }
    };
    server.serve::<Parameters, (Answer,), _, _>("swiftcart:redis/scripts@0.1.0", "run", handle).await
}

async fn run(clients: &Clients<KeyValue>, caller: Caller, (script, keys, arguments): Parameters) -> Answer {
    let client = clients.client(&caller, INTERFACE).await.map_err(|none| Error::Unavailable(none.to_string()))?;
    let script = library::Script { name: script.name, source: script.source };
    let items = client.run_script(&script, &keys, &arguments).await.map_err(|failure| match failure {
        library::Error::Unavailable(reason) => Error::Unavailable(reason),
        library::Error::Uncertain(reason) => Error::Uncertain(reason),
        library::Error::Invalid(reason) => Error::Invalid(reason),
    })?;
    let item = |item| match item {
        library::Item::Nil => Item::Nil,
        library::Item::Integer(number) => Item::Integer(number),
        library::Item::Text(text) => Item::Text(text),
    };
    Ok(items.into_iter().map(item).collect())
}
