//! A producer of librdkafka with the thread that takes its acknowledgements. The binding's own thread polls for 100 ms at a time, and as the binding
//! rounds what is left down to milliseconds, each time it spins through the last one: 1 % of a core for every producer that does nothing. This one polls
//! for longer. Invariant: the client ends on that thread, never in a task of the runtime, for its end waits.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, DeliveryResult, ProducerContext};
use tokio::sync::oneshot;

use crate::config::ProducerConfig;
use crate::context::Context;
use crate::error::Error;
use crate::topics::invalid;

/// How long one poll lasts, whatever comes meanwhile, and so how soon an end is noticed.
const POLL: Duration = Duration::from_secs(2);

/// What became of one record.
pub(crate) type Acknowledgement = Result<(), KafkaError>;

/// Runs inside of `poll`.
impl ProducerContext for Context {
    type DeliveryOpaque = Box<oneshot::Sender<Acknowledgement>>;

    fn delivery(&self, delivered: &DeliveryResult<'_>, told: Self::DeliveryOpaque) {
        let acknowledgement = match delivered {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.clone()),
        };
        // Whoever sent it may have gone.
        let _ = told.send(acknowledgement);
    }
}

/// A producer whose acknowledgements are taken until its user drops it.
pub(crate) struct Served(Arc<BaseProducer<Context>>);

impl Served {
    /// Makes the client, which connects in the background, and its thread.
    ///
    /// # Errors
    /// [`Error::Invalid`] if librdkafka refuses the configuration, [`Error::Unavailable`] without a thread.
    pub(crate) fn start(config: &ProducerConfig) -> Result<Arc<Self>, Error> {
        let client: BaseProducer<_> =
            config.client_config().create_with_context(Context::new(None)).map_err(invalid)?;
        let client = Arc::new(client);
        let polled = Arc::clone(&client);
        let poll = move || {
            // The other one is the user's.
            while Arc::strong_count(&polled) > 1 {
                polled.poll(POLL);
            }
        };
        let thread = std::thread::Builder::new().name("kafka-producer".to_owned());
        thread.spawn(poll).map_err(|error| Error::Unavailable(format!("no thread for the producer: {error}")))?;
        Ok(Arc::new(Self(client)))
    }
}

impl Deref for Served {
    type Target = BaseProducer<Context>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::time::Instant;

    use rdkafka::producer::BaseRecord;

    use super::*;
    use crate::connection::Connection;

    /// Goal: whoever drops a producer does not wait for it, and it ends all the same. Method: no broker, and a record that waits for one.
    #[test]
    fn a_producer_ends_on_its_own_thread() {
        let served = Served::start(&ProducerConfig::new(Connection::plain("127.0.0.1:1"))).unwrap();
        let (told, mut acknowledgement) = oneshot::channel();
        let record = BaseRecord::with_opaque_to("t", Box::new(told)).payload("x").key("k");
        assert!(served.send::<str, str>(record).is_ok());
        let client = Arc::downgrade(&served.0);
        drop(served);
        assert!(client.strong_count() > 0, "the thread has it");
        let deadline = Instant::now() + 5 * POLL;
        while client.strong_count() > 0 {
            assert!(Instant::now() < deadline, "the thread does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(acknowledgement.try_recv().unwrap().is_err(), "given up, and told so");
    }
}
