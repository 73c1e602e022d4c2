WITH calls AS (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[]) WITH ORDINALITY AS c (order_id, amount, currency, method, call)
), begun AS (
    INSERT INTO payments AS p (order_id, state, amount, currency, method, attempts)
    SELECT order_id, 'started', amount, currency, method, 1 FROM calls ORDER BY order_id
    ON CONFLICT (order_id) DO UPDATE SET attempts = p.attempts + (p.state IN ('started', 'unknown'))::int, updated_at = now()
    RETURNING p.order_id, p.state, p.amount, p.currency, p.method, p.payment_id, p.decline_code, p.reason, p.attempts,
        (extract(epoch FROM now() - p.created_at) * 1000)::bigint AS age_ms, (xmax = 0) AS created
)
SELECT c.call, b.* FROM calls c JOIN begun b ON b.order_id = c.order_id
