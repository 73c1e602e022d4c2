//! The body of every answer. Invariant: the access record, the place among the requests in flight and the deadline last
//! exactly as long as the answer does, not only until its head is out.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::{sync::OwnedSemaphorePermit, time::Sleep};

use crate::{
    access_log::AccessRecord,
    erased::{BoxError, ResponseBody},
};

pub(crate) struct EdgeBody {
    inner: ResponseBody,
    record: AccessRecord,
    guard: Option<Guard>,
}

/// What a request that was let in to the handler holds.
pub(crate) struct Guard {
    pub(crate) deadline: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    _in_flight: OwnedSemaphorePermit,
}

impl Guard {
    pub(crate) fn new(deadline: Instant, in_flight: OwnedSemaphorePermit) -> Self {
        Self { deadline, timer: None, _in_flight: in_flight }
    }

    /// The timer is made only when a piece of the body is not there at once; most bodies never need it.
    fn poll_expired(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
        timer.as_mut().poll(context)
    }
}

impl EdgeBody {
    pub(crate) fn new(inner: ResponseBody, mut record: AccessRecord, guard: Option<Guard>) -> Self {
        if inner.is_end_stream() {
            record.complete();
        }
        Self { inner, record, guard }
    }
}

impl Body for EdgeBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.inner).poll_frame(context) {
            Poll::Ready(frame) => {
                if frame.is_none() || this.inner.is_end_stream() {
                    this.record.complete();
                }
                Poll::Ready(frame)
            }
            Poll::Pending => match this.guard.as_mut().map(|guard| guard.poll_expired(context)) {
                // The head is out, so breaking off is the only way left to say it.
                Some(Poll::Ready(())) => Poll::Ready(Some(Err("the answer's body missed its deadline".into()))),
                _ => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
