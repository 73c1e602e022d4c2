//! Charging once per order: own row first, then the PSP, then the outcome with its event. Invariant: the PSP is asked only while an open row stands,
//! and only under the order's own idempotency key; asked again under it, it tells what became of the first time.

use std::time::{Duration, Instant};

use swiftcart_domain::event::{Payment, PaymentFailed, PaymentStatus, PaymentSucceeded};
use swiftcart_domain::money::Currency;
use swiftcart_domain::outbox::OutboxEvent;
use uuid::Uuid;

use crate::app::{App, now_micros};
use crate::model::{Order, PROVIDER, Trace};
use crate::psp::Verdict;
use crate::store::StoreError;

/// Younger rows may be sent again; well below the 24 hours for which Stripe keeps a key.
const RESEND_MAX_AGE_MS: i64 = 12 * 60 * 60 * 1000;
/// One request.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(3_500);
/// All requests of one charge.
const BUDGET: Duration = Duration::from_secs(7);
/// A try with less time left than this is not begun.
const TRY_MIN: Duration = Duration::from_millis(200);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);
/// What a buyer is told when the true reason must not be.
pub(crate) const GENERIC_DECLINE: &str = "card_declined";
/// The bank wants the buyer to prove who he is.
pub(crate) const AUTHENTICATION_REQUIRED: &str = "authentication_required";
/// A method that the PSP does not know.
pub(crate) const INVALID_METHOD: &str = "invalid_payment_method";

/// Codes that may be shown, each with its sentence; everything else is told as a plain decline.
const SHOWN: [(&str, &str); 14] = [
    (GENERIC_DECLINE, "The card was declined."),
    ("insufficient_funds", "The card has insufficient funds."),
    ("expired_card", "The card has expired."),
    ("incorrect_cvc", "The card's security code is incorrect."),
    ("invalid_cvc", "The card's security code is incorrect."),
    ("incorrect_number", "The card number is incorrect."),
    ("invalid_number", "The card number is incorrect."),
    ("invalid_expiry_month", "The card's expiry date is incorrect."),
    ("invalid_expiry_year", "The card's expiry date is incorrect."),
    ("card_not_supported", "The card does not support this kind of purchase."),
    ("currency_not_supported", "The card does not support this currency."),
    ("processing_error", "The card could not be processed. Try again a little later."),
    (
        AUTHENTICATION_REQUIRED,
        "The card's bank requires an authentication that is not supported yet. Try another card.",
    ),
    (INVALID_METHOD, "The payment method is not known."),
];

/// The code that may be shown, and its sentence.
fn shown(psp_code: &str) -> (&'static str, &'static str) {
    SHOWN.into_iter().find(|(code, _)| *code == psp_code).unwrap_or((GENERIC_DECLINE, "The card was declined."))
}

/// The sentence for a code that may be shown.
pub(crate) fn message(code: &str) -> &'static str {
    shown(code).1
}

/// Where a charge stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChargeState {
    Started,
    Unknown,
    Succeeded,
    Declined,
    Unavailable,
}

impl ChargeState {
    const ALL: [(Self, &'static str); 5] = [
        (Self::Started, "started"),
        (Self::Unknown, "unknown"),
        (Self::Succeeded, "succeeded"),
        (Self::Declined, "declined"),
        (Self::Unavailable, "unavailable"),
    ];

    pub(crate) fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("", |(_, text)| text)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == text).map(|(state, _)| *state)
    }
}

/// A row of the table `payments`.
#[derive(Clone, Debug)]
pub(crate) struct Charge {
    pub(crate) order_id: Uuid,
    pub(crate) state: ChargeState,
    /// Amount, currency and method; none in a tombstone.
    pub(crate) request: Option<(u64, Currency, String)>,
    pub(crate) payment_id: Option<String>,
    pub(crate) decline_code: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) attempts: i32,
    pub(crate) age_ms: i64,
    /// This very call wrote the row.
    pub(crate) created: bool,
}

/// What callers are told.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// Charged, with the PSP's id.
    Succeeded(String),
    /// Declined, with the code that may be shown and the PSP's id if it gave one.
    Declined(String, Option<String>),
    /// Surely not charged, and never will be.
    Unavailable(String),
    /// May or may not be charged.
    Unknown(String),
}

impl Charge {
    fn outcome(&self) -> Option<Outcome> {
        match self.state {
            ChargeState::Started | ChargeState::Unknown => None,
            ChargeState::Succeeded => Some(Outcome::Succeeded(self.payment_id.clone().unwrap_or_default())),
            ChargeState::Declined => {
                let code = self.decline_code.clone().unwrap_or_else(|| GENERIC_DECLINE.to_owned());
                Some(Outcome::Declined(code, self.payment_id.clone()))
            }
            ChargeState::Unavailable => Some(Outcome::Unavailable(self.reason.clone().unwrap_or_default())),
        }
    }
}

/// What the PSP decided, as it is written.
#[derive(Clone, Debug)]
pub(crate) enum Conclusion {
    /// Charged, with the PSP's id.
    Succeeded(String),
    /// Declined, with the PSP's code, and its id if it gave one.
    Declined(String, Option<String>),
    /// Surely not charged: true only as long as nobody else has set out since.
    Unavailable { reason: String, only_attempt: i32 },
}

impl Conclusion {
    pub(crate) fn state(&self) -> ChargeState {
        match self {
            Self::Succeeded(_) => ChargeState::Succeeded,
            Self::Declined(..) => ChargeState::Declined,
            Self::Unavailable { .. } => ChargeState::Unavailable,
        }
    }

    pub(crate) fn payment_id(&self) -> Option<&str> {
        match self {
            Self::Succeeded(id) => Some(id),
            Self::Declined(_, id) => id.as_deref(),
            Self::Unavailable { .. } => None,
        }
    }

    pub(crate) fn psp_code(&self) -> Option<&str> {
        if let Self::Declined(code, _) = self { Some(code) } else { None }
    }

    pub(crate) fn decline_code(&self) -> Option<&'static str> {
        self.psp_code().map(|code| shown(code).0)
    }

    pub(crate) fn reason(&self) -> Option<&str> {
        if let Self::Unavailable { reason, .. } = self { Some(reason) } else { None }
    }

    pub(crate) fn only_attempt(&self) -> Option<i32> {
        if let Self::Unavailable { only_attempt, .. } = self { Some(*only_attempt) } else { None }
    }

    fn event(
        &self,
        order_id: Uuid,
        amount: u64,
        currency: Currency,
        trace: &Trace,
    ) -> Result<OutboxEvent, serde_json::Error> {
        let payment = |id: &str, status| Payment {
            provider: PROVIDER.to_owned(),
            payment_id: id.to_owned(),
            status,
            amount,
            currency,
            decline_code: self.psp_code().map(str::to_owned),
        };
        let (now, parent, state) = (now_micros(), trace.parent.as_str(), trace.state.as_deref());
        match self {
            Self::Succeeded(id) => {
                let event = PaymentSucceeded::new(now, order_id, payment(id, PaymentStatus::Succeeded));
                OutboxEvent::new(&event, parent, state)
            }
            Self::Declined(..) | Self::Unavailable { .. } => {
                let told = self.payment_id().map(|id| payment(id, PaymentStatus::Failed));
                OutboxEvent::new(&PaymentFailed::new(now, order_id, told), parent, state)
            }
        }
    }
}

impl App {
    /// Charges once per order, or tells what became of the first time.
    pub(crate) async fn charge(&self, order: &Order, method: &str, trace: &Trace) -> Outcome {
        match self.store.begin_charge(order, method).await {
            Ok(charge) => self.resolve(charge, trace).await,
            // Nothing was sent by this call, but another may be on its way; only the row could tell.
            Err(error) => Outcome::Unknown(format!("beginning a charge: {error}")),
        }
    }

    /// What became of an order's charge; bars it if none was begun.
    pub(crate) async fn settle_charge(&self, order_id: Uuid, trace: &Trace) -> Outcome {
        match self.databases.begin_settle(order_id).await {
            Ok(charge) => self.resolve(charge, trace).await,
            Err(error) => Outcome::Unknown(format!("settling a charge: {error}")),
        }
    }

    async fn resolve(&self, charge: Charge, trace: &Trace) -> Outcome {
        if let Some(outcome) = charge.outcome() {
            return outcome;
        }
        let Some((amount, currency, method)) = &charge.request else {
            return Outcome::Unknown("an open row without a request".to_owned());
        };
        let deadline = Instant::now() + BUDGET;
        let mut verdict = match &charge.payment_id {
            Some(id) => self.psp.read(id, time_left(deadline)).await,
            None if charge.age_ms > RESEND_MAX_AGE_MS => {
                Verdict::Unknown("the charge is too old to be sent again".to_owned(), None)
            }
            None => self.send(&charge, *amount, *currency, method, deadline).await,
        };
        if let Verdict::RequiresAction(id) = verdict {
            verdict = self.psp.cancel(charge.order_id, &id, time_left(deadline)).await;
        }
        let conclusion = match verdict {
            Verdict::Succeeded(id) => Conclusion::Succeeded(id),
            Verdict::Declined(code, id) => Conclusion::Declined(code, id),
            // That a known intent could not be read proves nothing.
            Verdict::Refused(reason) if charge.payment_id.is_none() => {
                Conclusion::Unavailable { reason, only_attempt: charge.attempts }
            }
            Verdict::Refused(reason) => return self.unknown(&charge, reason, None).await,
            Verdict::Unknown(reason, id) => return self.unknown(&charge, reason, id).await,
            Verdict::RequiresAction(id) => {
                let reason = "the payment waits for the buyer and could not be cancelled".to_owned();
                return self.unknown(&charge, reason, Some(id)).await;
            }
        };
        self.conclude(charge.order_id, *amount, *currency, &conclusion, trace).await
    }

    /// Asks under the order's key, twice if the first try was inconclusive. What proves that nothing was charged counts only if nothing was sent
    /// before.
    async fn send(&self, charge: &Charge, amount: u64, currency: Currency, method: &str, deadline: Instant) -> Verdict {
        let mut maybe_sent = !charge.created;
        let mut last = Verdict::Unknown("no time was left to ask the PSP".to_owned(), None);
        for _ in 0..2 {
            let limit = time_left(deadline);
            if limit < TRY_MIN {
                break;
            }
            match self.psp.pay(charge.order_id, amount, currency, method, limit).await {
                Verdict::Unknown(reason, None) => {
                    maybe_sent = true;
                    last = Verdict::Unknown(reason, None);
                }
                Verdict::Refused(reason) if maybe_sent => return Verdict::Unknown(reason, None),
                conclusive => return conclusive,
            }
            tokio::time::sleep(PAUSE).await;
        }
        last
    }

    async fn conclude(
        &self,
        order_id: Uuid,
        amount: u64,
        currency: Currency,
        conclusion: &Conclusion,
        trace: &Trace,
    ) -> Outcome {
        let event = match conclusion.event(order_id, amount, currency, trace) {
            Ok(event) => event,
            Err(error) => return Outcome::Unknown(error.to_string()),
        };
        match self.store.decide_charge(order_id, conclusion, &event).await {
            Ok(charge) => {
                charge.outcome().unwrap_or_else(|| Outcome::Unknown("another call is asking the PSP".to_owned()))
            }
            // Whatever the PSP said, it is told only once it is written: the next call hears it again.
            Err(error) => {
                if let StoreError::Internal(_) = error {
                    tracing::error!(%order_id, %error, "writing the outcome of a charge");
                }
                Outcome::Unknown(format!("writing the outcome of a charge: {error}"))
            }
        }
    }

    async fn unknown(&self, charge: &Charge, reason: String, payment_id: Option<String>) -> Outcome {
        // Only for whoever looks; the next call asks again either way.
        let _ = self.databases.note_unknown(charge.order_id, &reason, payment_id.as_deref()).await;
        Outcome::Unknown(reason)
    }
}

fn time_left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).min(REQUEST_TIMEOUT)
}
