-- What the consumer saw, in the order in which it saw it.
CREATE TABLE seen (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    partition integer NOT NULL,
    message_offset bigint NOT NULL,
    key text,
    name text NOT NULL,
    attempt bigint NOT NULL,
    header_traceparent text,
    call_traceparent text NOT NULL,
    timestamp_ms bigint,
    seen_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX seen_name ON seen (name);

CREATE TABLE gates (name text PRIMARY KEY);

CREATE TABLE ticks (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    ticked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE work (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    timer text NOT NULL
);
