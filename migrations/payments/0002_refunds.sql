-- What is to be given back, which orders' events were handled, and which of the PSP's events were.
-- Invariants: one row per order, so at most one refund whichever event asks; the row exists before the PSP is asked; a refund that succeeded is
-- only ever taken back by the PSP's own word (its bank refused it), never asked for again.

CREATE TABLE refunds (
    order_id uuid PRIMARY KEY REFERENCES payments (order_id),
    -- pending: to be asked for, or asked for and not decided. void: it turned out that nothing had been charged.
    state text NOT NULL DEFAULT 'pending',
    -- The PSP's intent; null while it is not known whether it charged.
    payment_id text,
    -- The PSP's id of the refund, once it gave one.
    refund_id text,
    -- What was given back, in minor units.
    amount bigint,
    -- The idempotency key is derived from the order and this: a key under which the PSP broke is never executed again.
    key_number integer NOT NULL DEFAULT 1,
    attempts integer NOT NULL DEFAULT 0,
    -- The sweep takes it up from then on.
    next_try_at timestamptz NOT NULL DEFAULT now(),
    -- Why it is pending still, failed or void, for people.
    reason text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT refunds_state CHECK (state IN ('pending', 'succeeded', 'failed', 'void')),
    CONSTRAINT refunds_succeeded CHECK (state <> 'succeeded' OR (refund_id IS NOT NULL AND amount > 0))
);
CREATE INDEX refunds_due ON refunds (next_try_at) WHERE state = 'pending';

CREATE TABLE inbox (
    consumer text,
    event_id uuid,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
);
CREATE INDEX inbox_by_age ON inbox (received_at);

-- The PSP's events that were handled. Longer than it delivers one (three days).
CREATE TABLE webhook_events (
    event_id text PRIMARY KEY,
    event_type text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX webhook_events_by_age ON webhook_events (received_at);

-- The PSP's events name an intent.
CREATE INDEX payments_by_payment_id ON payments (payment_id) WHERE payment_id IS NOT NULL;
