//! Work that goes on when nobody waits for it any more. It runs in the task of whoever waits, which costs no task of its own and no waking of
//! another thread; only when it is left half-way does it become a task. Invariant: what was begun is polled until it ends or the runtime does.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// A future that outlives its owner: dropped before its end, it goes on as a task of the tracker.
pub struct Outliving<F: Future<Output: Send + 'static> + Send + 'static> {
    /// None when it has ended, or panicked.
    future: Option<Pin<Box<F>>>,
    tasks: TaskTracker,
}

/// What a panic in the future left, as [`std::thread::Result`] has it.
type Panicked = Box<dyn Any + Send>;

impl<F: Future<Output: Send + 'static> + Send + 'static> Outliving<F> {
    /// Nothing happens before it is polled; should it be dropped before that, `tasks` runs it all the same.
    pub fn new(future: F, tasks: TaskTracker) -> Self {
        Self { future: Some(Box::pin(future)), tasks }
    }
}

impl<F: Future<Output: Send + 'static> + Send + 'static> Future for Outliving<F> {
    type Output = Result<F::Output, Panicked>;

    /// A panic of the future is its own, as in a task: the owner is told and goes on.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(mut future) = self.future.take() else {
            return Poll::Ready(Err(Box::new("polled after its end")));
        };
        // What a panic leaves is dropped with the box and never polled again.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => {
                self.future = Some(future);
                Poll::Pending
            }
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panicked) => Poll::Ready(Err(panicked)),
        }
    }
}

impl<F: Future<Output: Send + 'static> + Send + 'static> Drop for Outliving<F> {
    fn drop(&mut self) {
        // Without a runtime, everything ends.
        if let (Some(future), Ok(runtime)) = (self.future.take(), Handle::try_current()) {
            self.tasks.spawn_on(future, &runtime);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    /// Goal: what is left half-way is finished, by the tracker. Method: the owner gives up while the work waits; then the work may go on.
    #[tokio::test]
    async fn is_finished_after_its_owner_left() {
        let tasks = TaskTracker::new();
        let (go, may_go) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        let work = Outliving::new(
            async move {
                may_go.await.unwrap();
                done.send(7).unwrap();
            },
            tasks.clone(),
        );
        assert!(tokio::time::timeout(Duration::from_millis(1), work).await.is_err());
        assert_eq!(tasks.len(), 1);
        go.send(()).unwrap();
        assert_eq!(is_done.await.unwrap(), 7);
        tasks.close();
        tasks.wait().await;
    }

    /// Goal: no task for what its owner waited for, and a panic ends neither the owner nor is it tried again.
    #[tokio::test]
    async fn costs_no_task_when_waited_for() {
        let tasks = TaskTracker::new();
        assert_eq!(Outliving::new(async { 7 }, tasks.clone()).await.unwrap(), 7);
        let panicked = Outliving::new(async { panic!("on purpose") }, tasks.clone()).await;
        assert_eq!(*panicked.unwrap_err().downcast_ref::<&str>().unwrap(), "on purpose");
        assert!(tasks.is_empty());
    }
}
