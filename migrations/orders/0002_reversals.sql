-- Confirmed orders that are taken back, by their buyer or by the saga, and the inbox of the events that say so.
--
-- Invariant: a CANCELLED order was confirmed once, and when it was taken back is known.

ALTER TABLE orders
    ADD COLUMN reversed_at timestamptz,
    -- Not checked against the rows that are there: none is CANCELLED before this release, and the table is not read under its lock.
    ADD CONSTRAINT orders_reversed CHECK (reversed_at IS NULL OR state IN ('FAILED', 'CANCELLED')) NOT VALID,
    ADD CONSTRAINT orders_cancelled CHECK (state <> 'CANCELLED' OR reversed_at IS NOT NULL) NOT VALID;

COMMENT ON COLUMN orders.decided_at IS 'when it left PENDING';
COMMENT ON COLUMN orders.decided_by IS 'who decided the state that it has now';
COMMENT ON COLUMN orders.reversed_at IS 'when it left CONFIRMED';

-- For the retention.
CREATE INDEX inbox_by_age ON inbox (received_at);
