//! Stripe's test payment methods and what happens to a charge with each. Invariant: the outcome depends on the method alone.

/// What the card's bank says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The charge goes through.
    Succeeds,
    /// The bank wants the buyer to prove who he is.
    RequiresAction,
    /// Declined; `code`, `decline_code` and the message that Stripe gives.
    Declined {
        /// Stripe's error code.
        code: &'static str,
        /// Stripe's decline code.
        decline_code: &'static str,
        /// Text for people.
        message: &'static str,
    },
}

/// What a plain refusal by the bank looks like.
pub const GENERIC_DECLINE: Outcome = declined("card_declined", "generic_decline", "Your card was declined.");

const fn declined(code: &'static str, decline_code: &'static str, message: &'static str) -> Outcome {
    Outcome::Declined { code, decline_code, message }
}

/// The outcome of a test method; `None` when the PSP has no such method.
#[must_use]
pub fn outcome(method: &str) -> Option<Outcome> {
    Some(match method {
        "pm_card_visa"
        | "pm_card_visa_debit"
        | "pm_card_mastercard"
        | "pm_card_mastercard_debit"
        | "pm_card_amex"
        | "pm_card_discover"
        | "pm_card_jcb"
        | "pm_card_diners"
        | "pm_card_unionpay" => Outcome::Succeeds,
        "pm_card_authenticationRequired"
        | "pm_card_threeDSecure2Required"
        | "pm_card_authenticationRequiredOnSetup" => Outcome::RequiresAction,
        "pm_card_chargeDeclined" | "pm_card_visa_chargeDeclined" => GENERIC_DECLINE,
        "pm_card_chargeDeclinedInsufficientFunds" | "pm_card_visa_chargeDeclinedInsufficientFunds" => {
            declined("card_declined", "insufficient_funds", "Your card has insufficient funds.")
        }
        "pm_card_chargeDeclinedLostCard" | "pm_card_visa_chargeDeclinedLostCard" => {
            declined("card_declined", "lost_card", "Your card was declined.")
        }
        "pm_card_chargeDeclinedStolenCard" | "pm_card_visa_chargeDeclinedStolenCard" => {
            declined("card_declined", "stolen_card", "Your card was declined.")
        }
        "pm_card_chargeDeclinedFraudulent" => declined("card_declined", "fraudulent", "Your card was declined."),
        "pm_card_chargeDeclinedExpiredCard" => declined("expired_card", "expired_card", "Your card has expired."),
        "pm_card_chargeDeclinedIncorrectCvc" => {
            declined("incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.")
        }
        "pm_card_chargeDeclinedProcessingError" => declined(
            "processing_error",
            "processing_error",
            "An error occurred while processing your card. Try again in a little bit.",
        ),
        _ => return None,
    })
}
