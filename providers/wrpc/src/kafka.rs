//! The consumer of `providers/kafka` in front of components that export `swiftcart:kafka/handler`: one consumer for each link, with the settings of the
//! link over the provider's own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use swiftcart_provider_kafka as library;
use tokio_util::sync::CancellationToken;

use crate::bindings::swiftcart::kafka::types::{Failure, Header, Message};
use crate::limits;
use crate::runtime::{Origin, Pairs, Program, Running, Start, Started, Target, Trigger, Triggers};

const INSTANCE: &str = "swiftcart:kafka/handler@0.1.0";

/// The program.
pub struct Kafka;

struct Consumers;

/// Hands messages to a component.
struct Handler {
    target: Target,
    limit: Duration,
}

#[async_trait]
impl Program for Kafka {
    const NAME: &'static str = "kafka";

    async fn start(start: &Start) -> anyhow::Result<Started> {
        let origin = Origin { nats: start.nats.clone(), lattice: start.lattice.clone(), id: start.id.clone() };
        Ok(Started::new(Triggers::new(Consumers, start.own.clone(), origin)))
    }
}

impl Trigger for Consumers {
    fn work(&self, pairs: Pairs, target: Target, stop: CancellationToken) -> Result<Running, String> {
        let config = library::ConsumerConfig::from_pairs(pairs).map_err(|error| error.to_string())?;
        // Answered just before the consumer gives up, so that the reason is ours.
        let limit = limits::EVENT.min(Duration::from_millis(config.handle_timeout_ms.saturating_sub(100).max(1)));
        let handler = Arc::new(Handler { target, limit });
        Ok(Box::pin(
            async move { library::Consumer::run(config, handler, stop).await.map_err(|error| error.to_string()) },
        ))
    }
}

#[async_trait]
impl library::Handler for Handler {
    async fn handle(&self, message: &library::Message) -> Result<(), library::Failure> {
        let trace: Vec<(&str, &str)> = ["traceparent", "tracestate"]
            .into_iter()
            .filter_map(|name| message.header(name).map(|value| (name, value)))
            .collect();
        let answer = self
            .target
            .call::<(Message,), (Result<(), Failure>,)>(INSTANCE, "handle", (to_wire(message),), &trace, self.limit)
            .await;
        match answer {
            Ok((Ok(()),)) => Ok(()),
            Ok((Err(Failure::Retry(reason)),)) => Err(library::Failure::Retry(reason)),
            Ok((Err(Failure::Reject(reason)),)) => Err(library::Failure::Reject(reason)),
            Ok((Err(Failure::DependencyDown(reason)),)) => Err(library::Failure::DependencyDown(reason)),
            // A trap may be this message's fault, so its attempts are bounded; not getting to run at all never is.
            Err(failed) if failed.may_have_acted() => Err(library::Failure::Retry(failed.to_string())),
            Err(failed) => Err(library::Failure::DependencyDown(failed.to_string())),
        }
    }

    fn version(&self) -> String {
        // Which code runs under this id is known to its host only.
        self.target.id().to_owned()
    }
}

fn to_wire(message: &library::Message) -> Message {
    let header = |header: &library::Header| Header { name: header.name.clone(), value: header.value.clone().into() };
    Message {
        topic: message.topic.clone(),
        partition: message.partition,
        offset: message.offset,
        timestamp_ms: message.timestamp_ms,
        key: message.key.clone().map(Into::into),
        headers: message.headers.iter().map(header).collect(),
        payload: message.payload.clone().into(),
        attempt: message.attempt,
    }
}
