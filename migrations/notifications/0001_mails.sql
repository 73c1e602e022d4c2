-- Which mails went out. Invariants: one row per order and kind of mail; no address is ever stored.

CREATE TABLE mails (
    order_id uuid NOT NULL,
    kind text NOT NULL,
    -- The event that asked for it.
    event_id uuid NOT NULL,
    -- sending: being handed to the mail server, perhaps done. sent: it took responsibility. refused: it said no for good.
    -- unaddressed: nobody to write to.
    state text NOT NULL,
    -- Stable, so that a mail that was handed over twice can be seen as one.
    message_id text NOT NULL,
    attempts integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT mails_pkey PRIMARY KEY (order_id, kind),
    CONSTRAINT mails_kind CHECK (kind IN ('order_confirmed', 'order_failed', 'order_cancelled')),
    CONSTRAINT mails_state CHECK (state IN ('sending', 'sent', 'refused', 'unaddressed'))
);

CREATE TABLE inbox (
    consumer text,
    event_id uuid,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
);
CREATE INDEX inbox_by_age ON inbox (received_at);
