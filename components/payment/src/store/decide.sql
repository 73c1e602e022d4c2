WITH calls AS (
    SELECT *, ARRAY['started', 'unknown'] AS open FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int[],
                         $8::uuid[], $9::text[], $10::text[], $11::text[], $12::jsonb[])
        WITH ORDINALITY AS c (order_id, state, payment_id, decline_code, psp_code, reason, only_attempt,
                              event_id, topic, key, payload, headers, call)
), decided AS (
    UPDATE payments p SET state = c.state, payment_id = COALESCE(c.payment_id, p.payment_id), decline_code = c.decline_code,
        psp_code = c.psp_code, reason = c.reason, updated_at = now()
    FROM calls c
    WHERE p.order_id = c.order_id AND p.state = ANY (c.open) AND (c.only_attempt IS NULL OR p.attempts = c.only_attempt)
    RETURNING c.call, p.order_id, p.state, p.amount, p.currency, p.method, p.payment_id, p.decline_code, p.reason, p.attempts,
        (extract(epoch FROM now() - p.created_at) * 1000)::bigint AS age_ms, false AS created
), told AS (
    INSERT INTO outbox (event_id, topic, key, payload, headers)
    SELECT c.event_id, c.topic, c.key, c.payload, c.headers FROM decided d JOIN calls c ON c.call = d.call ORDER BY d.call
)
SELECT * FROM decided
