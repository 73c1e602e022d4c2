//! The end of the stack: asking the handler, within the deadline. Invariants: a request that reached the handler runs until
//! it is answered or its deadline passes, even if its client hangs up meanwhile, so that work is not cut off half-way by a
//! closed laptop; a handler that panics costs its own request only.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument;

use crate::{
    edge_body::Guard,
    erased::ResponseBody,
    outliving::Outliving,
    problem::{Problem, Refusal},
};

/// Answers the requests that the edge let in.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// `request` is complete and within the caps. Its headers carry a valid `traceparent` and, if a token was verified,
    /// `x-token-issuer`, `x-token-subject`, `x-token-scope` (space-separated, maybe empty) and `x-token-email` (if the token
    /// has one); without these the caller is anonymous and the path public. `HEAD` comes as `GET`; the body of its answer is
    /// dropped. At `deadline` the future is dropped.
    ///
    /// # Errors
    /// Each becomes a problem document; the text is logged and not shown to the client.
    async fn handle(&self, request: Request<Bytes>, deadline: Instant) -> Result<Response<ResponseBody>, HandlerError>;
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandlerError {
    /// 503 `overloaded`: try again soon.
    #[error("overloaded")]
    Overloaded,
    /// 503 `unavailable`: something that the answer needs does not work.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// 503 `unavailable`: there was not enough time.
    #[error("the deadline passed")]
    DeadlineExceeded,
    /// 500 `internal`: a bug of ours, or a trap.
    #[error("internal: {0}")]
    Internal(String),
}

pub(crate) struct Answers {
    handler: Arc<dyn Handler>,
    timeout: Duration,
    tasks: TaskTracker,
    /// Cancelled when a shutdown will not wait any longer.
    abort: CancellationToken,
}

impl Answers {
    pub(crate) fn new(
        handler: Arc<dyn Handler>,
        timeout: Duration,
        tasks: TaskTracker,
        abort: CancellationToken,
    ) -> Self {
        Self { handler, timeout, tasks, abort }
    }

    /// How long an answer may take unless its client has less patience.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Asks the handler, which has this long.
    pub(crate) async fn ask(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
        in_flight: OwnedSemaphorePermit,
    ) -> Result<(Response<ResponseBody>, Guard), Refusal> {
        let deadline = Instant::now() + timeout;
        let (handler, abort) = (Arc::clone(&self.handler), self.abort.clone());
        let asking = async move {
            let answer = tokio::select! {
                biased;
                () = abort.cancelled() => Err(HandlerError::Unavailable("shutting down".to_owned())),
                answer = tokio::time::timeout_at(deadline.into(), handler.handle(request, deadline)) => {
                    answer.unwrap_or(Err(HandlerError::DeadlineExceeded))
                }
            };
            // The place is given back here if nobody waits for the answer any more.
            (answer, in_flight)
        };
        match Outliving::new(asking.in_current_span(), self.tasks.clone()).await {
            Ok((Ok(response), in_flight)) => Ok((response, Guard::new(deadline, in_flight))),
            Ok((Err(error), _)) => Err(refusal(&error)),
            // The panic's own words and place were written by the panic hook.
            Err(_) => Err(refusal(&HandlerError::Internal("the handler panicked".to_owned()))),
        }
    }
}

fn refusal(error: &HandlerError) -> Refusal {
    match error {
        HandlerError::Overloaded => Refusal::new(Problem::Overloaded, "Try again soon.").retry_after(1),
        HandlerError::Unavailable(_) | HandlerError::DeadlineExceeded => {
            tracing::warn!(error = %error, "no answer");
            Refusal::new(Problem::Unavailable, "The answer was not ready in time, or something it needs is down.")
                .retry_after(1)
        }
        HandlerError::Internal(_) => {
            tracing::error!(error = %error, "no answer");
            Refusal::new(Problem::Internal, "The request could not be processed.")
        }
    }
}
