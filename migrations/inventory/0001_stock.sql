-- What is on sale, how much of it lies on the shelf, and why.
-- Invariants: on_hand is never negative; for each sku the sum of all movements is on_hand; an order is applied at most once.
-- What can be sold now (on_hand minus open reservations) is counted in Redis and can be rebuilt from here at any time.

CREATE TABLE products (
    -- "C" sorts by bytes, so that pages are the same everywhere.
    sku text COLLATE "C" PRIMARY KEY,
    name text NOT NULL,
    -- Minor units.
    unit_price bigint NOT NULL,
    currency text NOT NULL,
    on_hand bigint NOT NULL DEFAULT 0,
    -- Grows with every change of name, price or currency, so that an older copy never replaces a newer one in a cache.
    version bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT products_sku_form CHECK (sku ~ '^[A-Za-z0-9._-]{1,64}$'),
    CONSTRAINT products_unit_price_range CHECK (unit_price BETWEEN 1 AND 1000000000),
    CONSTRAINT products_currency_form CHECK (currency ~ '^[A-Z]{3}$'),
    CONSTRAINT products_on_hand_not_negative CHECK (on_hand >= 0)
);

CREATE TABLE inventory_movements (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sku text COLLATE "C" NOT NULL REFERENCES products (sku),
    kind text NOT NULL,
    -- Signed: what it added to on_hand.
    delta bigint NOT NULL,
    -- Its cause: an order, or somebody's adjustment. The same id names the reservation in Redis that held the stock meanwhile.
    order_id uuid,
    adjustment_id uuid,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT inventory_movements_kind CHECK (kind IN ('restock', 'correction', 'confirmed', 'return')),
    CONSTRAINT inventory_movements_sign CHECK (
        (kind IN ('restock', 'return') AND delta > 0) OR (kind = 'confirmed' AND delta < 0) OR (kind = 'correction' AND delta <> 0)
    ),
    CONSTRAINT inventory_movements_cause CHECK (
        (kind IN ('confirmed', 'return') AND order_id IS NOT NULL AND adjustment_id IS NULL)
        OR (kind IN ('restock', 'correction') AND adjustment_id IS NOT NULL AND order_id IS NULL)
    ),
    CONSTRAINT inventory_movements_once_per_order UNIQUE (order_id, sku, kind),
    CONSTRAINT inventory_movements_once_per_adjustment UNIQUE (adjustment_id)
);
CREATE INDEX inventory_movements_by_sku ON inventory_movements (sku, id);

-- Answers of adjustments by idempotency key; kept for 24 hours.
CREATE TABLE adjustment_keys (
    user_id uuid NOT NULL,
    key text NOT NULL,
    -- The sku and the request in canonical form: the same key with another one is refused.
    fingerprint text NOT NULL,
    answer jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT adjustment_keys_pkey PRIMARY KEY (user_id, key)
);
CREATE INDEX adjustment_keys_by_age ON adjustment_keys (created_at);

CREATE TABLE inbox (
    consumer text,
    event_id uuid,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
);
CREATE INDEX inbox_by_age ON inbox (received_at);

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
