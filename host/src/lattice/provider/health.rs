//! Whether a provider is well: what it answers, and what that means. Invariant: one lost answer is no failure, lasting silence is.

use std::time::Duration;

use async_nats::Client;
use serde::Deserialize;

use crate::limits;

/// What came back from one question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Healthy(Option<String>),
    Unhealthy(Option<String>),
    /// Nothing, or nothing that can be read.
    Silence,
}

/// What is to be told about a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) healthy: bool,
    pub(super) message: String,
    /// False: it was told before.
    pub(super) changed: bool,
}

/// Remembers what was told.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    told: Option<bool>,
    silences: u32,
}

impl Tracker {
    /// Judges an answer; `None`: nothing to tell yet.
    pub(super) fn judge(&mut self, answer: Answer) -> Option<Verdict> {
        let (healthy, message) = match answer {
            Answer::Healthy(message) => (true, message.unwrap_or_default()),
            Answer::Unhealthy(message) => (false, message.unwrap_or_else(|| "it says that it is unwell".to_owned())),
            Answer::Silence => {
                self.silences = self.silences.saturating_add(1);
                if self.silences < limits::PROVIDER_SILENCES {
                    return None;
                }
                return Some(self.tell(false, format!("it has left {} health checks unanswered", self.silences)));
            }
        };
        self.silences = 0;
        Some(self.tell(healthy, message))
    }

    /// The process has ended by itself.
    pub(super) fn ended(&mut self, message: String) -> Verdict {
        self.silences = 0;
        self.tell(false, message)
    }

    fn tell(&mut self, healthy: bool, message: String) -> Verdict {
        let changed = self.told.replace(healthy) != Some(healthy);
        Verdict { healthy, message, changed }
    }
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    healthy: bool,
    message: Option<String>,
}

/// Waits, then asks once.
pub(super) async fn ask(nats: Client, subject: String, after: Duration) -> Answer {
    tokio::time::sleep(after).await;
    let asked = nats.request(subject, bytes::Bytes::new());
    match tokio::time::timeout(limits::PROVIDER_HEALTH_ANSWER, asked).await {
        Ok(Ok(message)) => match serde_json::from_slice::<Reply>(&message.payload) {
            Ok(Reply { healthy: true, message }) => Answer::Healthy(message),
            Ok(Reply { healthy: false, message }) => Answer::Unhealthy(message),
            Err(_) => Answer::Silence,
        },
        Ok(Err(_)) | Err(_) => Answer::Silence,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(tracker: &mut Tracker, answer: Answer) -> Option<(bool, bool)> {
        tracker.judge(answer).map(|verdict| (verdict.healthy, verdict.changed))
    }

    #[test]
    fn changes_are_told_as_changes_and_silence_only_when_it_lasts() {
        let mut tracker = Tracker::default();
        assert_eq!(told(&mut tracker, Answer::Silence), None);
        assert_eq!(told(&mut tracker, Answer::Healthy(None)), Some((true, true)));
        assert_eq!(told(&mut tracker, Answer::Healthy(None)), Some((true, false)));
        assert_eq!(told(&mut tracker, Answer::Unhealthy(None)), Some((false, true)));
        assert_eq!(told(&mut tracker, Answer::Unhealthy(Some("still".into()))), Some((false, false)));
        assert_eq!(told(&mut tracker, Answer::Healthy(None)), Some((true, true)));
        assert_eq!(told(&mut tracker, Answer::Silence), None);
        assert_eq!(told(&mut tracker, Answer::Silence), None);
        assert_eq!(told(&mut tracker, Answer::Silence), Some((false, true)));
        assert_eq!(told(&mut tracker, Answer::Silence), Some((false, false)));
        assert_eq!(told(&mut tracker, Answer::Healthy(None)), Some((true, true)));
        assert!(tracker.ended("exit 1".into()).changed && !tracker.ended("exit 1".into()).changed);
    }
}
