//! The edge of `providers/http` in front of components that export `wasi:http/incoming-handler`: one server for each link, with the settings of the
//! link over the provider's own. Invariant: what a request says of its client was checked here, and the call says so; hosts of ours believe
//! it of a source that is linked to the component (docs/adr/0020).

mod answer;
mod wire;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use swiftcart_provider_http as library;
use tokio_util::sync::CancellationToken;

use crate::limits;
use crate::runtime::{Failed, Origin, Pairs, Program, Running, Start, Started, Target, Trigger, Triggers};

const INSTANCE: &str = "wrpc:http/incoming-handler@0.1.0";
const FUNCTION: &str = "handle";
/// The body of the first parameter.
const REQUEST_BODY: &str = "0.0";
/// Clients of an edge can write headers of HTTP, but not this header of the call.
const IDENTITY: (&str, &str) = ("swiftcart-identity", "verified");

/// The program.
pub struct Http;

struct Edges;

/// Hands requests to a component.
struct Handler(Target);

#[async_trait]
impl Program for Http {
    const NAME: &'static str = "http";

    async fn start(start: &Start) -> anyhow::Result<Started> {
        let origin = Origin { nats: start.nats.clone(), lattice: start.lattice.clone(), id: start.id.clone() };
        Ok(Started::new(Triggers::new(Edges, start.own.clone(), origin)))
    }
}

impl Trigger for Edges {
    fn work(&self, pairs: Pairs, target: Target, stop: CancellationToken) -> Result<Running, String> {
        let config = library::ServerConfig::from_pairs(pairs).map_err(|error| error.to_string())?;
        Ok(Box::pin(async move {
            let component = target.id().to_owned();
            let handler = Arc::new(Handler(target));
            let server = library::Server::bind(config, handler).await.map_err(|error| error.to_string())?;
            tracing::info!(component, address = %server.local_addr(), "listening");
            server.run(stop).await.map_err(|error| error.to_string())
        }))
    }
}

#[async_trait]
impl library::Handler for Handler {
    async fn handle(
        &self,
        request: Request<Bytes>,
        deadline: Instant,
    ) -> Result<Response<library::ResponseBody>, library::HandlerError> {
        let header = |name: &'static str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let trace: Vec<(&str, &str)> = ["traceparent", "tracestate"]
            .into_iter()
            .filter_map(|name| header(name).map(|value| (name, value)))
            .filter(|(_, value)| value.len() <= limits::TRACE_STATE_BYTES)
            .collect();
        let mut headers = self.0.headers(&trace, deadline.saturating_duration_since(Instant::now()));
        headers.insert(IDENTITY.0, IDENTITY.1);
        let ended: &[&str] = if request.body().is_empty() { &[REQUEST_BODY] } else { &[] };
        let calling = self.0.converse((INSTANCE, FUNCTION), wire::request(&request), ended, headers);
        answer::read(calling.await.map_err(|failed| refusal(&failed))?).await
    }
}

fn refusal(failed: &Failed) -> library::HandlerError {
    match failed {
        Failed::NotRunning(_) | Failed::NotSent(_) => library::HandlerError::Unavailable(failed.to_string()),
        Failed::TimedOut(_) => library::HandlerError::DeadlineExceeded,
        Failed::BrokenOff(_) => library::HandlerError::Internal(failed.to_string()),
    }
}
