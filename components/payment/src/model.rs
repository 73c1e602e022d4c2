//! A charge and its states. Invariant: no I/O, no clock; only `started` and `unknown` are open, everything else is final.

use swiftcart_domain::event::{Payment as EventPayment, PaymentFailed, PaymentStatus, PaymentSucceeded};
use swiftcart_domain::money::Currency;
use swiftcart_domain::outbox::OutboxEvent;
use uuid::Uuid;

use crate::error::Error;

/// The PSP's name in answers and events.
pub const PROVIDER: &str = "stripe";

/// What is to be charged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Charge {
    /// For which order; one charge per order.
    pub order_id: Uuid,
    /// Minor units.
    pub amount: u64,
    /// ISO 4217.
    pub currency: Currency,
    /// The PSP's name of the payment method.
    pub method: String,
}

/// Where a charge stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The row is written; the PSP may or may not have been asked.
    Started,
    /// The PSP was asked and it is not known what came of it.
    Unknown,
    /// Charged.
    Succeeded,
    /// Declined.
    Declined,
    /// Surely not charged, and never will be.
    Unavailable,
}

impl State {
    /// Its text in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Unknown => "unknown",
            Self::Succeeded => "succeeded",
            Self::Declined => "declined",
            Self::Unavailable => "unavailable",
        }
    }

    /// From its text in the table.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Started, Self::Unknown, Self::Succeeded, Self::Declined, Self::Unavailable]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// A row of the table `payments`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The order.
    pub order_id: Uuid,
    /// Where it stands.
    pub state: State,
    /// What was asked for; none in a tombstone that no request preceded.
    pub charge: Option<Charge>,
    /// The PSP's id.
    pub payment_id: Option<String>,
    /// The code that may be shown.
    pub decline_code: Option<String>,
    /// Why it is unavailable or unknown.
    pub reason: Option<String>,
    /// Calls that set out to ask the PSP, this one included.
    pub attempts: i32,
    /// Since the row was written, in milliseconds.
    pub age_ms: u64,
    /// True when this very call wrote the row.
    pub created: bool,
}

/// What callers are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Charged, with the PSP's id.
    Succeeded(String),
    /// Declined.
    Declined {
        /// May be shown.
        code: String,
        /// The PSP's id, if it gave one.
        payment_id: Option<String>,
    },
    /// Surely not charged, and never will be under this order id: decided before, or never begun.
    NotCharged(String),
    /// The same, decided by this call, because the PSP could not be reached or refused the request.
    Unavailable(String),
    /// May or may not be charged.
    Unknown(String),
}

impl Record {
    /// The outcome, once there is one.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        match self.state {
            State::Started | State::Unknown => None,
            State::Succeeded => Some(Outcome::Succeeded(self.payment_id.clone().unwrap_or_default())),
            State::Declined => Some(Outcome::Declined {
                code: self.decline_code.clone().unwrap_or_else(|| GENERIC_DECLINE.to_owned()),
                payment_id: self.payment_id.clone(),
            }),
            State::Unavailable => Some(Outcome::NotCharged(self.reason.clone().unwrap_or_default())),
        }
    }
}

impl Record {
    /// What must go back when the order comes to nothing.
    #[must_use]
    pub fn owed(&self) -> u64 {
        self.charge.as_ref().map_or(0, |charge| charge.amount)
    }
}

/// What the PSP decided, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Charged.
    Succeeded {
        /// The PSP's id.
        payment_id: String,
    },
    /// Declined.
    Declined {
        /// The code that the PSP gave.
        psp_code: String,
        /// The PSP's id, if it gave one.
        payment_id: Option<String>,
    },
    /// Surely not charged.
    Unavailable {
        /// Why, for people.
        reason: String,
        /// Only true as long as nobody else has set out since: the row's `attempts` must still be this.
        only_attempt: Option<i32>,
    },
}

impl Decision {
    /// The state that it leads to.
    #[must_use]
    pub fn state(&self) -> State {
        match self {
            Self::Succeeded { .. } => State::Succeeded,
            Self::Declined { .. } => State::Declined,
            Self::Unavailable { .. } => State::Unavailable,
        }
    }

    /// The PSP's id, if it gave one.
    #[must_use]
    pub fn payment_id(&self) -> Option<&str> {
        match self {
            Self::Succeeded { payment_id } => Some(payment_id),
            Self::Declined { payment_id, .. } => payment_id.as_deref(),
            Self::Unavailable { .. } => None,
        }
    }

    /// The event that tells it.
    ///
    /// # Errors
    /// [`Error::Internal`] when it cannot be written as JSON, which does not happen.
    pub fn event(
        &self,
        charge: &Charge,
        now_micros: i64,
        trace: &(String, Option<String>),
    ) -> Result<OutboxEvent, Error> {
        let payment = |payment_id: &str, status, decline_code| EventPayment {
            provider: PROVIDER.to_owned(),
            payment_id: payment_id.to_owned(),
            status,
            amount: charge.amount,
            currency: charge.currency,
            decline_code,
        };
        let (traceparent, tracestate) = (trace.0.as_str(), trace.1.as_deref());
        match self {
            Self::Succeeded { payment_id } => {
                let event = PaymentSucceeded::new(
                    now_micros,
                    charge.order_id,
                    payment(payment_id, PaymentStatus::Succeeded, None),
                );
                OutboxEvent::new(&event, traceparent, tracestate)
            }
            Self::Declined { psp_code, payment_id } => {
                let told = payment_id.as_deref().map(|id| payment(id, PaymentStatus::Failed, Some(psp_code.clone())));
                OutboxEvent::new(&PaymentFailed::new(now_micros, charge.order_id, told), traceparent, tracestate)
            }
            Self::Unavailable { .. } => {
                OutboxEvent::new(&PaymentFailed::new(now_micros, charge.order_id, None), traceparent, tracestate)
            }
        }
        .map_err(|error| Error::Internal(error.to_string()))
    }
}

/// What a buyer is told when the true reason must not be.
pub const GENERIC_DECLINE: &str = "card_declined";
/// A method that the PSP does not know.
pub const INVALID_METHOD: &str = "invalid_payment_method";
/// The bank wants the buyer to prove who he is.
pub const AUTHENTICATION_REQUIRED: &str = "authentication_required";

/// Codes that may be shown, each with its sentence. Everything else (stolen, lost, fraudulent, do_not_honor, ...) is told as a plain decline, as
/// Stripe asks: <https://docs.stripe.com/declines/codes>.
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

/// The code that may be shown for one that the PSP gave.
#[must_use]
pub fn shown_code(psp_code: &str) -> &'static str {
    SHOWN.iter().find(|(code, _)| *code == psp_code).map_or(GENERIC_DECLINE, |(code, _)| code)
}

/// The sentence for a code that may be shown.
#[must_use]
pub fn message(code: &str) -> &'static str {
    SHOWN.iter().find(|(known, _)| *known == code).map_or("The card was declined.", |(_, message)| message)
}
