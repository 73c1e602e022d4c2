//! The statements of the orders database. Invariant: each is one step, and what it may write hangs on the row that it guards.
//!
//! The two that every order runs are written for any number of calls at once (`coalesce` of `wit/postgres`).

/// Every column of an order and, as three arrays, its lines.
macro_rules! order_columns {
    () => {
        "o.id, o.user_id, o.state, o.version, o.currency, o.total_amount, o.payment_method, o.created_at, o.idempotency_key, \
         o.sealed_email, o.traceparent, o.tracestate, o.lease_epoch, o.answered_pending, o.failure_code, o.failure_message, \
         o.payment_provider, o.payment_id, o.refund_state, o.refund_amount, o.refund_id, \
         l.skus, l.quantities, l.unit_prices"
    };
}

/// Joins the lines to `orders AS o`.
macro_rules! join_lines {
    () => {
        "CROSS JOIN LATERAL (
             SELECT array_agg(sku ORDER BY position) AS skus, array_agg(quantity::bigint ORDER BY position) AS quantities,
                    array_agg(unit_price ORDER BY position) AS unit_prices
             FROM order_lines WHERE order_id = o.id) AS l"
    };
}

/// For any number of placements. A key that is too old counts as free even before it is deleted; of several placements with the same key the first
/// has it, and the others find it taken.
pub const PLACE: &str = include_str!("place.sql");

/// Reading an answer is telling it: the first reader is marked in the same statement.
pub const FIND_KEY: &str = concat!(
    "
WITH told AS (
    UPDATE idempotency_keys SET told = true
    WHERE user_id = $1 AND route = $2 AND key = $3 AND fingerprint = $4 AND decision IS NOT NULL AND NOT told
      AND created_at >= now() - make_interval(secs => $5::float8)
    RETURNING 1
)
SELECT k.fingerprint, k.decision, k.trace_id, EXISTS (SELECT 1 FROM told) AS first_told,
       CASE WHEN o.lease_yielded OR o.lease_until <= now() THEN 0
            ELSE ceil(extract(epoch FROM o.lease_until - now()))::bigint END AS busy_seconds, ",
    order_columns!(),
    "
FROM idempotency_keys k JOIN orders o ON o.id = k.order_id ",
    join_lines!(),
    "
WHERE k.user_id = $1 AND k.route = $2 AND k.key = $3 AND k.created_at >= now() - make_interval(secs => $5::float8)"
);

/// Only what nobody works on, and never what the buyer was told 202 about: that is the sweep's.
pub const TAKE_LEASE: &str = "
UPDATE orders
SET lease_epoch = lease_epoch + 1, lease_until = now() + make_interval(secs => $3::float8), lease_yielded = false
WHERE id = $1 AND state = 'PENDING' AND lease_epoch = $2 AND NOT answered_pending AND (lease_yielded OR lease_until <= now())
RETURNING lease_epoch";

/// The sweep still waits for the end of the lease.
pub const YIELD_LEASE: &str = "
UPDATE orders SET lease_yielded = true WHERE id = $1 AND state = 'PENDING' AND lease_epoch = $2";

/// Ends the lease, so that the sweep comes after its grace.
pub const NOTE_PENDING: &str = "
UPDATE orders SET answered_pending = true, lease_until = now() WHERE id = $1 AND state = 'PENDING' AND lease_epoch = $2";

/// For any number of decisions: of each, state, answer and event, or nothing. Without a decision for its key the key is removed. That an order is
/// PENDING is asked with a value, not a literal, so that it is reached by its id and never by going through all that are pending.
pub const DECIDE: &str = include_str!("decide.sql");

/// Whoever owns it.
pub const READ: &str = concat!("SELECT ", order_columns!(), " FROM orders o ", join_lines!(), " WHERE o.id = $1");

/// Another user's order is no order.
pub const GET: &str =
    concat!("SELECT ", order_columns!(), " FROM orders o ", join_lines!(), " WHERE o.id = $1 AND o.user_id = $2");

/// Keyset pages over the index `orders_by_user`.
pub const LIST: &str = concat!(
    "SELECT ",
    order_columns!(),
    " FROM (
    SELECT * FROM orders
    WHERE user_id = $1 AND (created_at, id) < ($2::timestamptz, $3::uuid) AND ($4::text IS NULL OR state = $4)
    ORDER BY created_at DESC, id DESC LIMIT $5::bigint) AS o ",
    join_lines!(),
    " ORDER BY o.created_at DESC, o.id DESC"
);

/// One at a time, so that no lease runs out behind a slow PSP; several hosts skip each other's.
pub const CLAIM_DUE: &str = concat!(
    "
WITH due AS (
    SELECT id FROM orders
    WHERE state = 'PENDING' AND lease_until < now() - make_interval(secs => $1::float8)
    ORDER BY lease_until LIMIT 1 FOR UPDATE SKIP LOCKED
), o AS (
    UPDATE orders
    SET lease_epoch = lease_epoch + 1, lease_until = now() + make_interval(secs => $2::float8), lease_yielded = false,
        settle_attempts = settle_attempts + 1
    FROM due WHERE orders.id = due.id
    RETURNING orders.*
)
SELECT o.settle_attempts, ",
    order_columns!(),
    " FROM o ",
    join_lines!()
);

/// The grace of the sweep comes on top.
pub const POSTPONE: &str = "
UPDATE orders SET lease_until = now() + make_interval(secs => $3::float8) WHERE id = $1 AND state = 'PENDING' AND lease_epoch = $2";

/// State, refund and event, or nothing; with the inbox row of the event that asks for it, if one does ($13). `decided_at` stays what it was:
/// when the order left PENDING.
pub const REVERSE: &str = "
WITH reversed AS (
    UPDATE orders
    SET state = $3::text, version = $4::bigint, reversed_at = now(), decided_by = $5::text, failure_code = $6::text, failure_message = $7::text,
        refund_state = 'pending', refund_amount = total_amount
    WHERE id = $1::uuid AND state = 'CONFIRMED' AND version = $2::bigint
    RETURNING id
), published AS (
    INSERT INTO outbox (event_id, topic, key, payload, headers)
    SELECT $8::uuid, $9::text, reversed.id::text, $10::text, $11::jsonb FROM reversed
), noted AS (
    INSERT INTO inbox (consumer, event_id) SELECT $12::text, $13::uuid FROM reversed WHERE $13::uuid IS NOT NULL ON CONFLICT DO NOTHING
)
SELECT id FROM reversed";

/// Refund and inbox row, or nothing. A refund is shown once, whatever the order's events said about it before.
pub const REFUND: &str = "
WITH refunded AS (
    UPDATE orders
    SET refund_state = 'succeeded', refund_id = $3::text, refund_amount = $4::bigint, version = version + 1
    WHERE id = $1::uuid AND version = $2::bigint AND state IN ('FAILED', 'CANCELLED') AND refund_state IS DISTINCT FROM 'succeeded'
    RETURNING id
), noted AS (
    INSERT INTO inbox (consumer, event_id) SELECT $5::text, $6::uuid FROM refunded ON CONFLICT DO NOTHING
)
SELECT id FROM refunded";

/// The same for a refund that came to nothing.
pub const FAIL_REFUND: &str = "
WITH failed AS (
    UPDATE orders
    SET refund_state = 'failed', refund_id = coalesce($3::text, refund_id), refund_amount = coalesce(refund_amount, $4::bigint),
        version = version + 1
    WHERE id = $1::uuid AND version = $2::bigint AND state IN ('FAILED', 'CANCELLED') AND refund_state IS DISTINCT FROM 'failed'
    RETURNING id
), noted AS (
    INSERT INTO inbox (consumer, event_id) SELECT $5::text, $6::uuid FROM failed ON CONFLICT DO NOTHING
)
SELECT id FROM failed";

/// An event that changes nothing.
pub const NOTE_EVENT: &str = "
INSERT INTO inbox (consumer, event_id) VALUES ($1::text, $2::uuid) ON CONFLICT DO NOTHING";

/// Bounded: the oldest first.
pub const PURGE_KEYS: &str = "
DELETE FROM idempotency_keys
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM idempotency_keys WHERE created_at < now() - make_interval(secs => $1::float8)
    ORDER BY created_at LIMIT $2::bigint FOR UPDATE SKIP LOCKED))";

/// Looks at the oldest rows only, so that it never reads the whole table.
pub const PURGE_OUTBOX: &str = "
DELETE FROM outbox
WHERE id = ANY (ARRAY(
    SELECT id FROM (SELECT id, published_at FROM outbox ORDER BY id LIMIT $2::bigint) AS oldest
    WHERE published_at < now() - make_interval(secs => $1::float8)))";

/// By the index `inbox_by_age`, the oldest first.
pub const PURGE_INBOX: &str = "
DELETE FROM inbox
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM inbox WHERE received_at < now() - make_interval(secs => $1::float8)
    ORDER BY received_at LIMIT $2::bigint FOR UPDATE SKIP LOCKED))";
