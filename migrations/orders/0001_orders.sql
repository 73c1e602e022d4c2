-- The orders database: orders and their lines, idempotency keys, outbox, inbox.
--
-- Invariants: an order is written together with its lines and its idempotency key; it leaves PENDING together with its event and its stored
-- answer; who decides it holds its lease, told by the epoch.

CREATE TABLE orders (
    id uuid PRIMARY KEY,                                -- UUIDv7
    user_id uuid NOT NULL,
    state text NOT NULL DEFAULT 'PENDING' CHECK (state IN ('PENDING', 'CONFIRMED', 'FAILED', 'CANCELLED')),
    version bigint NOT NULL DEFAULT 1,                  -- what the buyer sees has changed
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    total_amount bigint NOT NULL CHECK (total_amount > 0), -- minor units
    payment_method text NOT NULL,
    created_at timestamptz NOT NULL,
    idempotency_key text,                               -- of the create, so that the sweep can store the answer
    sealed_email bytea,                                 -- opens only with the secret key of notification
    traceparent text NOT NULL,                          -- of the create
    tracestate text,

    -- Who works on it while it is PENDING.
    lease_until timestamptz,
    lease_epoch bigint NOT NULL DEFAULT 1,              -- fencing: only the latest holder may decide
    lease_yielded boolean NOT NULL DEFAULT false,       -- given back early: the same key may go on at once, the sweep still waits
    answered_pending boolean NOT NULL DEFAULT false,    -- the buyer was told 202
    settle_attempts integer NOT NULL DEFAULT 0,

    -- What became of it.
    decided_at timestamptz,
    decided_by text CHECK (decided_by IN ('request', 'sweep', 'saga')),
    failure_code text,                                  -- snake_case
    failure_message text,
    payment_provider text,
    payment_id text,
    refund_state text CHECK (refund_state IN ('pending', 'succeeded', 'failed')),
    refund_id text,
    refund_amount bigint CHECK (refund_amount > 0),     -- minor units

    CHECK ((state = 'PENDING') = (decided_at IS NULL)),
    CHECK (state <> 'PENDING' OR lease_until IS NOT NULL),
    CHECK ((state = 'FAILED') = (failure_code IS NOT NULL)),
    CHECK (state <> 'CONFIRMED' OR payment_id IS NOT NULL)
);

-- The list of a user's orders, newest first.
CREATE INDEX orders_by_user ON orders (user_id, created_at DESC, id DESC);

-- What the sweep looks for. Small: an order leaves it when it is decided.
CREATE INDEX orders_pending_by_lease ON orders (lease_until) WHERE state = 'PENDING';

CREATE TABLE order_lines (
    order_id uuid NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
    position integer NOT NULL,                          -- from 1, the order of the request
    sku text NOT NULL,
    quantity integer NOT NULL CHECK (quantity BETWEEN 1 AND 1000),
    unit_price bigint NOT NULL CHECK (unit_price BETWEEN 1 AND 1000000000), -- minor units
    PRIMARY KEY (order_id, position)
);

CREATE TABLE idempotency_keys (
    user_id uuid NOT NULL,
    route text NOT NULL,                                -- template, for example 'POST /orders'
    key text NOT NULL,
    fingerprint bytea NOT NULL,                         -- SHA-256 of the parsed request
    order_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    decision text,                                      -- JSON, told again byte for byte; null while the order is PENDING
    trace_id text,                                      -- of the request that was decided
    told boolean NOT NULL DEFAULT false,                -- somebody was given the decision: from now on it is a replay
    PRIMARY KEY (user_id, route, key)
);

CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id uuid NOT NULL UNIQUE,
    topic text NOT NULL,
    key text NOT NULL,                                  -- Kafka message key (order id)
    payload text NOT NULL,                              -- JSON text, published as it is
    headers jsonb NOT NULL DEFAULT '{}',                -- {name: string}
    created_at timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz
);

CREATE INDEX outbox_unpublished ON outbox (id) WHERE published_at IS NULL;

CREATE TABLE inbox (
    consumer text NOT NULL,
    event_id uuid NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
);
