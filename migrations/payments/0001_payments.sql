-- One row per order: what became of its charge.
-- Invariants: a row in state succeeded, declined or unavailable never changes its state again; a row exists before the PSP is asked; an order whose
-- row is unavailable can never be charged (the row is then the tombstone that a late request meets).

CREATE TABLE payments (
    order_id uuid PRIMARY KEY,
    state text NOT NULL,
    -- Of the request; null in a tombstone, which was written before any request came. Minor units, ISO 4217, the PSP's name of the method.
    amount bigint,
    currency text,
    method text,
    -- The PSP's id, when it gave one.
    payment_id text,
    -- The code that may be shown to the buyer, and the one that the PSP gave.
    decline_code text,
    psp_code text,
    -- Why it is unavailable or unknown, for people.
    reason text,
    -- How many calls set out to ask the PSP. A call that was not the only one cannot know that nothing was sent.
    attempts integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT payments_state CHECK (state IN ('started', 'unknown', 'succeeded', 'declined', 'unavailable')),
    CONSTRAINT payments_request CHECK (
        state = 'unavailable' OR (amount IS NOT NULL AND amount > 0 AND currency IS NOT NULL AND method IS NOT NULL)
    ),
    CONSTRAINT payments_succeeded_has_id CHECK (state <> 'succeeded' OR payment_id IS NOT NULL),
    CONSTRAINT payments_declined_has_code CHECK (state <> 'declined' OR decline_code IS NOT NULL)
);
CREATE INDEX payments_open ON payments (created_at) WHERE state IN ('started', 'unknown');

CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id uuid NOT NULL UNIQUE,
    topic text NOT NULL,
    key text NOT NULL,
    payload text NOT NULL,
    headers jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz
);
CREATE INDEX outbox_unpublished ON outbox (id) WHERE published_at IS NULL;
CREATE INDEX outbox_published_by_age ON outbox (published_at) WHERE published_at IS NOT NULL;
