//! The PSP's books: payment intents, refunds and the answers kept for idempotency keys. Invariant: what was answered is in the journal,
//! in one line per call, so that a killed simulator comes back with the same books.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A payment intent; amounts in minor units.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Intent {
    /// `pi_...`
    pub id: String,
    /// Asked for.
    pub amount: i64,
    /// Three small letters.
    pub currency: String,
    /// Stripe's status.
    pub status: String,
    /// The test method.
    pub payment_method: String,
    /// As the caller gave it.
    pub metadata: BTreeMap<String, String>,
    /// As the caller gave it.
    pub description: Option<String>,
    /// `ch_...` of the attempt, also of a declined one.
    pub latest_charge: Option<String>,
    /// Stripe's `last_payment_error`.
    pub last_payment_error: Option<Value>,
    /// Why it was cancelled.
    pub cancellation_reason: Option<String>,
    /// Seconds since 1970.
    pub canceled_at: Option<i64>,
    /// Seconds since 1970.
    pub created: i64,
}

impl Intent {
    /// True once money moved.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.status == "succeeded"
    }

    /// Stripe's JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let next_action = (self.status == "requires_action")
            .then(|| json!({"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}));
        let method = (self.status != "requires_payment_method").then_some(&self.payment_method);
        json!({
            "id": self.id, "object": "payment_intent", "amount": self.amount, "amount_capturable": 0,
            "amount_received": if self.succeeded() { self.amount } else { 0 },
            "canceled_at": self.canceled_at, "cancellation_reason": self.cancellation_reason,
            "capture_method": "automatic_async", "client_secret": format!("{}_secret_simulated", self.id),
            "confirmation_method": "automatic", "created": self.created, "currency": self.currency, "description": self.description,
            "last_payment_error": self.last_payment_error, "latest_charge": self.latest_charge, "livemode": false,
            "metadata": self.metadata, "next_action": next_action, "payment_method": method,
            "payment_method_types": ["card"], "status": self.status,
        })
    }
}

/// A refund; amount in minor units.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Refund {
    /// `re_...`
    pub id: String,
    /// Given back.
    pub amount: i64,
    /// As the intent's.
    pub currency: String,
    /// The intent.
    pub payment_intent: String,
    /// The charge.
    pub charge: Option<String>,
    /// As the caller gave it.
    pub reason: Option<String>,
    /// As the caller gave it.
    pub metadata: BTreeMap<String, String>,
    /// `pending`, `succeeded` or `failed`.
    pub status: String,
    /// Seconds since 1970.
    pub created: i64,
}

impl Refund {
    /// Stripe's JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "id": self.id, "object": "refund", "amount": self.amount, "charge": self.charge, "created": self.created, "currency": self.currency,
            "metadata": self.metadata, "payment_intent": self.payment_intent, "reason": self.reason, "status": self.status,
        })
    }
}

/// The answer kept for an idempotency key, byte for byte.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Kept {
    /// The caller's key.
    pub key: String,
    /// Of method, path and parameters.
    pub fingerprint: String,
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// All that one call changes: one journal line.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Change {
    /// New or changed intent.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub intent: Option<Intent>,
    /// New or changed refund.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub refund: Option<Refund>,
    /// The kept answer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kept: Option<Kept>,
}

/// What the books say of one order.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Account<'a> {
    intents: Vec<&'a str>,
    charges: i64,
    charged: i64,
    refunded: i64,
    refunds: Vec<&'a str>,
    refunds_pending: Vec<&'a str>,
    refunds_failed: Vec<&'a str>,
}

/// The books in memory with their journal.
pub struct Ledger {
    journal: File,
    intents: Vec<Intent>,
    intent_index: HashMap<String, usize>,
    refunds: Vec<Refund>,
    kept: HashMap<String, Kept>,
}

impl Ledger {
    /// Reads the journal (or begins one). A last line that a kill cut short was never answered and is dropped.
    ///
    /// # Errors
    /// When the file cannot be opened or a whole line in it is not ours.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let mut journal = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .with_context(|| format!("opening the journal {}", path.display()))?;
        let mut text = Vec::new();
        journal.read_to_end(&mut text)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |position| position + 1);
        let mut changes = Vec::new();
        for (number, line) in text.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n').enumerate() {
            if !line.is_empty() {
                let change = serde_json::from_slice(line)
                    .with_context(|| format!("line {} of {} is no journal line", number + 1, path.display()))?;
                changes.push(change);
            }
        }
        journal.set_len(whole as u64)?;
        journal.seek(SeekFrom::End(0))?;
        let mut ledger = Self {
            journal,
            intents: Vec::new(),
            intent_index: HashMap::new(),
            refunds: Vec::new(),
            kept: HashMap::new(),
        };
        changes.into_iter().for_each(|change| ledger.apply(change));
        Ok(ledger)
    }

    /// Writes a change to the journal, then to memory. The page cache keeps it over a kill of the process, which is all a simulator needs.
    ///
    /// # Errors
    /// When the journal cannot be written; memory is then as before.
    pub fn commit(&mut self, change: Change) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(&change)?;
        line.push(b'\n');
        self.journal.write_all(&line).context("writing the journal")?;
        self.apply(change);
        Ok(())
    }

    fn apply(&mut self, change: Change) {
        if let Some(intent) = change.intent {
            match self.intent_index.get(&intent.id).and_then(|index| self.intents.get_mut(*index)) {
                Some(known) => *known = intent,
                None => {
                    self.intent_index.insert(intent.id.clone(), self.intents.len());
                    self.intents.push(intent);
                }
            }
        }
        if let Some(refund) = change.refund {
            match self.refunds.iter_mut().find(|known| known.id == refund.id) {
                Some(known) => *known = refund,
                None => self.refunds.push(refund),
            }
        }
        if let Some(kept) = change.kept {
            self.kept.insert(kept.key.clone(), kept);
        }
    }

    /// Forgets everything, in the file too.
    ///
    /// # Errors
    /// When the journal cannot be emptied.
    pub fn reset(&mut self) -> anyhow::Result<()> {
        self.journal.set_len(0)?;
        self.journal.seek(SeekFrom::Start(0))?;
        self.intents.clear();
        self.intent_index.clear();
        self.refunds.clear();
        self.kept.clear();
        Ok(())
    }

    /// One intent.
    #[must_use]
    pub fn intent(&self, id: &str) -> Option<&Intent> {
        self.intents.get(*self.intent_index.get(id)?)
    }

    /// All intents, oldest first.
    #[must_use]
    pub fn intents(&self) -> &[Intent] {
        &self.intents
    }

    /// One refund.
    #[must_use]
    pub fn refund(&self, id: &str) -> Option<&Refund> {
        self.refunds.iter().find(|refund| refund.id == id)
    }

    /// All refunds, oldest first.
    #[must_use]
    pub fn refunds(&self) -> &[Refund] {
        &self.refunds
    }

    /// The sum given back on an intent, or on its way.
    #[must_use]
    pub fn claimed(&self, intent: &str) -> i64 {
        self.sum(intent, |status| status != "failed")
    }

    /// The sum given back on an intent.
    #[must_use]
    pub fn refunded(&self, intent: &str) -> i64 {
        self.sum(intent, |status| status == "succeeded")
    }

    fn sum(&self, intent: &str, counts: impl Fn(&str) -> bool) -> i64 {
        let refunds = self.refunds.iter().filter(|refund| refund.payment_intent == intent && counts(&refund.status));
        refunds.map(|refund| refund.amount).sum()
    }

    /// The answer kept for a key.
    #[must_use]
    pub fn kept(&self, key: &str) -> Option<&Kept> {
        self.kept.get(key)
    }

    /// What the auditor reads: everything, and for each order how often and how much was charged and given back. `refunds` are those that money went
    /// back by; `refundsPending` and `refundsFailed` the others.
    #[must_use]
    pub fn audit(&self) -> Value {
        let mut orders: BTreeMap<&str, Account<'_>> = BTreeMap::new();
        for intent in &self.intents {
            let Some(order) = intent.metadata.get("order_id") else { continue };
            let account = orders.entry(order).or_default();
            account.intents.push(&intent.id);
            if intent.succeeded() {
                account.charges += 1;
                account.charged += intent.amount;
                account.refunded += self.refunded(&intent.id);
            }
            for refund in self.refunds.iter().filter(|refund| refund.payment_intent == intent.id) {
                match refund.status.as_str() {
                    "succeeded" => account.refunds.push(&refund.id),
                    "failed" => account.refunds_failed.push(&refund.id),
                    _ => account.refunds_pending.push(&refund.id),
                }
            }
        }
        let intents: Vec<Value> = self.intents.iter().map(Intent::json).collect();
        let refunds: Vec<Value> = self.refunds.iter().map(Refund::json).collect();
        json!({"intents": intents, "refunds": refunds, "orders": orders})
    }
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX))
}

/// A new id with Stripe's prefix (`pi`, `ch`, `re`).
#[must_use]
pub fn new_id(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::new_v4().simple())
}
