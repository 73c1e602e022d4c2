//! What each call does to the books, without HTTP. Invariant: a refused call changes nothing; a declined payment leaves an intent
//! without a charge of money.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::fault::Faults;
use super::ledger::{Change, Intent, Ledger, Refund, new_id, now};
use super::method::{self, Outcome};
use super::wire::{Failure, Parameters};

/// Smallest amount that Stripe takes (of most currencies), in minor units.
const MIN_AMOUNT: i64 = 50;
/// Largest amount that Stripe takes, in minor units.
const MAX_AMOUNT: i64 = 99_999_999;

/// The answer of an operation with the change that belongs to it.
pub(super) struct Done {
    /// HTTP status.
    pub(super) status: StatusCode,
    /// Body.
    pub(super) body: Value,
    /// What is to be written to the books.
    pub(super) change: Change,
}

/// A call that changes the books.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    /// `POST /v1/payment_intents`
    Pay,
    /// `POST /v1/payment_intents/:id/cancel`
    Cancel(String),
    /// `POST /v1/refunds`
    Refund,
}

impl Operation {
    /// Checks the form of the parameters; what fails here is never kept for an idempotency key, as with Stripe.
    ///
    /// # Errors
    /// A 400 in Stripe's form.
    pub(super) fn validate(&self, parameters: &Parameters) -> Result<(), Failure> {
        match self {
            Self::Pay => validate_payment(parameters),
            Self::Cancel(_) => parameters.only(&["cancellation_reason", "expand"]),
            Self::Refund => {
                parameters.only(&["payment_intent", "amount", "reason", "metadata", "expand"])?;
                parameters.required("payment_intent")?;
                match parameters.integer("amount")? {
                    Some(amount) if amount < 1 => Err(Failure::parameter(
                        "parameter_invalid_integer",
                        "amount",
                        "This value must be greater than or equal to 1.",
                    )),
                    _ => Ok(()),
                }
            }
        }
    }

    /// Carries it out against the books as they are.
    ///
    /// # Errors
    /// A 4xx in Stripe's form, without an effect.
    pub(super) fn execute(&self, ledger: &Ledger, parameters: &Parameters, faults: &Faults) -> Result<Done, Failure> {
        match self {
            Self::Pay => pay(parameters, faults.decline_all),
            Self::Cancel(id) => cancel(ledger, id, parameters),
            Self::Refund => refund(ledger, parameters, faults),
        }
    }
}

fn validate_payment(parameters: &Parameters) -> Result<(), Failure> {
    parameters.only(&[
        "amount",
        "automatic_payment_methods",
        "capture_method",
        "confirm",
        "currency",
        "description",
        "error_on_requires_action",
        "expand",
        "metadata",
        "off_session",
        "payment_method",
        "payment_method_types",
        "return_url",
    ])?;
    let amount = parameters.required("amount").and_then(|_| parameters.integer("amount"))?.unwrap_or_default();
    if amount < MIN_AMOUNT {
        return Err(Failure::parameter(
            "amount_too_small",
            "amount",
            format!("Amount must be at least {MIN_AMOUNT} in the smallest unit of the currency."),
        ));
    }
    if amount > MAX_AMOUNT {
        return Err(Failure::parameter(
            "amount_too_large",
            "amount",
            format!("Amount must be no more than {MAX_AMOUNT} in the smallest unit of the currency."),
        ));
    }
    let currency = parameters.required("currency")?;
    if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(Failure::parameter("parameter_invalid", "currency", format!("Invalid currency: {currency}.")));
    }
    if parameters.get("confirm") != Some("true") {
        return Err(Failure::parameter(
            "parameter_invalid",
            "confirm",
            "This simulator carries out one-step payments only: confirm must be true.",
        ));
    }
    if parameters.get("capture_method") == Some("manual") {
        return Err(Failure::parameter(
            "parameter_invalid",
            "capture_method",
            "This simulator captures at once: capture_method must not be manual.",
        ));
    }
    let method = parameters.required("payment_method")?;
    if method::outcome(method).is_none() {
        return Err(Failure::parameter(
            "resource_missing",
            "payment_method",
            format!("No such PaymentMethod: '{method}'"),
        ));
    }
    Ok(())
}

fn pay(parameters: &Parameters, decline_all: bool) -> Result<Done, Failure> {
    let method = parameters.required("payment_method")?;
    let mut intent = Intent {
        id: new_id("pi"),
        amount: parameters.integer("amount")?.unwrap_or_default(),
        currency: parameters.required("currency")?.to_ascii_lowercase(),
        status: "succeeded".to_owned(),
        payment_method: method.to_owned(),
        metadata: parameters.metadata(),
        description: parameters.get("description").map(str::to_owned),
        latest_charge: Some(new_id("ch")),
        last_payment_error: None,
        cancellation_reason: None,
        canceled_at: None,
        created: now(),
    };
    let outcome =
        if decline_all { method::GENERIC_DECLINE } else { method::outcome(method).unwrap_or(method::GENERIC_DECLINE) };
    let refuse = parameters.get("error_on_requires_action") == Some("true");
    let (status, body) = match outcome {
        Outcome::Succeeds => (StatusCode::OK, intent.json()),
        Outcome::RequiresAction if !refuse => {
            "requires_action".clone_into(&mut intent.status);
            intent.latest_charge = None;
            (StatusCode::OK, intent.json())
        }
        Outcome::RequiresAction => {
            intent.latest_charge = None;
            let message = "Your card was declined. This transaction requires authentication.";
            declined(&mut intent, "authentication_required", "authentication_required", message)
        }
        Outcome::Declined { code, decline_code, message } => declined(&mut intent, code, decline_code, message),
    };
    Ok(Done { status, body, change: Change { intent: Some(intent), ..Change::default() } })
}

fn declined(intent: &mut Intent, code: &str, decline_code: &str, message: &str) -> (StatusCode, Value) {
    let method = json!({"id": intent.payment_method, "object": "payment_method", "type": "card"});
    let mut error = json!({"type": "card_error", "code": code, "decline_code": decline_code, "message": message,
        "charge": intent.latest_charge, "payment_method": method});
    "requires_payment_method".clone_into(&mut intent.status);
    intent.last_payment_error = Some(error.clone());
    if let Some(fields) = error.as_object_mut() {
        fields.insert("payment_intent".to_owned(), intent.json());
    }
    (StatusCode::PAYMENT_REQUIRED, json!({ "error": error }))
}

fn cancel(ledger: &Ledger, id: &str, parameters: &Parameters) -> Result<Done, Failure> {
    let mut intent = ledger.intent(id).cloned().ok_or_else(|| Failure::missing("payment_intent", id))?;
    if matches!(intent.status.as_str(), "succeeded" | "canceled") {
        let message = format!("You cannot cancel this PaymentIntent because it has a status of {}.", intent.status);
        let mut failure = Failure::new(
            StatusCode::BAD_REQUEST,
            "invalid_request_error",
            Some("payment_intent_unexpected_state"),
            None,
            message,
        );
        if let Some(error) = failure.body.get_mut("error").and_then(Value::as_object_mut) {
            error.insert("payment_intent".to_owned(), intent.json());
        }
        return Err(failure);
    }
    "canceled".clone_into(&mut intent.status);
    intent.canceled_at = Some(now());
    intent.cancellation_reason = parameters.get("cancellation_reason").map(str::to_owned);
    Ok(Done {
        status: StatusCode::OK,
        body: intent.json(),
        change: Change { intent: Some(intent), ..Change::default() },
    })
}

fn refund(ledger: &Ledger, parameters: &Parameters, faults: &Faults) -> Result<Done, Failure> {
    let id = parameters.required("payment_intent")?;
    let intent = ledger.intent(id).ok_or_else(|| {
        Failure::parameter("resource_missing", "payment_intent", format!("No such payment_intent: '{id}'"))
    })?;
    if !intent.succeeded() {
        let message = format!("This PaymentIntent ({id}) does not have a successful charge to refund.");
        return Err(Failure::parameter("payment_intent_unexpected_state", "payment_intent", message));
    }
    if faults.refuse_refunds {
        let message = "The charge is disputed and cannot be refunded (fault asked for).";
        let kind = "invalid_request_error";
        return Err(Failure::new(StatusCode::BAD_REQUEST, kind, Some("charge_disputed"), None, message));
    }
    let left = intent.amount - ledger.claimed(id);
    if left == 0 {
        let charge = intent.latest_charge.as_deref().unwrap_or_default();
        let message = format!("Charge {charge} has already been refunded.");
        return Err(Failure::new(
            StatusCode::BAD_REQUEST,
            "invalid_request_error",
            Some("charge_already_refunded"),
            None,
            message,
        ));
    }
    let amount = parameters.integer("amount")?.unwrap_or(left);
    if amount > left {
        let message = format!("Refund amount ({amount}) is greater than unrefunded amount on charge ({left})");
        return Err(Failure::new(StatusCode::BAD_REQUEST, "invalid_request_error", None, Some("amount"), message));
    }
    let refund = Refund {
        id: new_id("re"),
        amount,
        currency: intent.currency.clone(),
        payment_intent: id.to_owned(),
        charge: intent.latest_charge.clone(),
        reason: parameters.get("reason").map(str::to_owned),
        metadata: parameters.metadata(),
        status: if faults.pend_refunds { "pending" } else { "succeeded" }.to_owned(),
        created: now(),
    };
    Ok(Done {
        status: StatusCode::OK,
        body: refund.json(),
        change: Change { refund: Some(refund), ..Change::default() },
    })
}
