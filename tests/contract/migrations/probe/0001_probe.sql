-- What the probe's own database needs. Rows of different cases never meet: each has its own key.
CREATE TABLE kinds (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL CONSTRAINT kinds_name_key UNIQUE,
    parent bigint CONSTRAINT kinds_parent_fkey REFERENCES kinds (id),
    amount integer NOT NULL DEFAULT 0 CONSTRAINT kinds_amount_check CHECK (amount >= 0)
);

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
