-- Orders that must take no stock any more.
-- Invariant: an order that stands here is never applied afterwards; if it was applied before, its stock was put back in the transaction that wrote the
-- row. Topics have no order between them, so the end of an order may be heard before its confirmation: the row is what the late one meets. Kept for
-- good, like the movements.

CREATE TABLE closed_orders (
    order_id uuid PRIMARY KEY,
    -- rejected: inventory could not honour it. cancelled, failed: the order says so.
    reason text NOT NULL,
    closed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT closed_orders_reason CHECK (reason IN ('rejected', 'cancelled', 'failed'))
);
