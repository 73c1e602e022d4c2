//! The consumer of `providers/kafka` in front of a component that exports `swiftcart:kafka/handler`.

use std::sync::Arc;

use swiftcart_provider_kafka as kafka;

use super::bindings::swiftcart::kafka::types::{Failure, Header, Message};
use crate::limits;
use crate::runtime::{CallContext, CallError, Chain, Slot, TraceContext, slice};

/// The interface that a component must export, as links name it.
pub const EXPORT: &str = "swiftcart:kafka/handler";

/// Hands each message to whatever version runs in the slot.
pub struct Consumer {
    slot: Arc<Slot>,
}

impl Consumer {
    /// A handler for messages to the component in `slot`.
    #[must_use]
    pub fn new(slot: Arc<Slot>) -> Self {
        Self { slot }
    }

    async fn call(&self, message: &kafka::Message) -> Result<Result<(), Failure>, CallError> {
        let component = self.slot.current()?;
        let trace =
            message.header("traceparent").and_then(|parent| TraceContext::parse(parent, message.header("tracestate")));
        let mut call =
            CallContext::new(trace.map_or_else(TraceContext::root, |trace| trace.child()), limits::BACKGROUND_CALL);
        call.chain = Chain::begin(&component.identity.name, EXPORT, &call.trace, || {
            message.key.as_deref().map(String::from_utf8_lossy).unwrap_or_default().into_owned()
        });
        let mut lease = component.lease(call).await?;
        let timeout = lease.timeout();
        let (store, instance) = lease.parts();
        let calling = async {
            let handle =
                component.typed::<(Message,), (Result<(), Failure>,)>(&mut *store, &instance, EXPORT, "handle")?;
            handle.call_async(&mut *store, (to_guest(message),)).await
        };
        let outcome = slice::within(timeout, calling).await;
        lease.conclude(outcome).map(|(answer,)| answer)
    }
}

#[async_trait::async_trait]
impl kafka::Handler for Consumer {
    async fn handle(&self, message: &kafka::Message) -> Result<(), kafka::Failure> {
        match self.call(message).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Failure::Retry(reason))) => Err(kafka::Failure::Retry(reason)),
            Ok(Err(Failure::Reject(reason))) => Err(kafka::Failure::Reject(reason)),
            Ok(Err(Failure::DependencyDown(reason))) => Err(kafka::Failure::DependencyDown(reason)),
            // A trap may be this message's fault, so its attempts are bounded; not getting to run at all never is.
            Err(error) if error.may_have_acted() => Err(kafka::Failure::Retry(error.to_string())),
            Err(error) => Err(kafka::Failure::DependencyDown(error.to_string())),
        }
    }

    fn version(&self) -> String {
        self.slot.current().map_or_else(|_| "none".to_owned(), |component| component.identity.digest.clone())
    }
}

fn to_guest(message: &kafka::Message) -> Message {
    Message {
        topic: message.topic.clone(),
        partition: message.partition,
        offset: message.offset,
        timestamp_ms: message.timestamp_ms,
        key: message.key.clone(),
        headers: message
            .headers
            .iter()
            .map(|header| Header { name: header.name.clone(), value: header.value.clone() })
            .collect(),
        payload: message.payload.clone(),
        attempt: message.attempt,
    }
}
