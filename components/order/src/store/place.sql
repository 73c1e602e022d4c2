WITH calls AS (
    SELECT *
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::timestamptz[], $7::bytea[], $8::text[], $9::text[], $10::jsonb[],
                $11::text[], $12::text[], $13::bytea[], $14::float8[], $15::float8[])
         WITH ORDINALITY AS c (id, user_id, currency, total_amount, payment_method, created_at, sealed_email, traceparent, tracestate, lines,
                               route, key, fingerprint, lease_seconds, retention_seconds, call)
), asking AS (
    SELECT DISTINCT ON (user_id, route, key) * FROM calls WHERE key IS NOT NULL ORDER BY user_id, route, key, call
), claimed AS (
    INSERT INTO idempotency_keys AS held (user_id, route, key, fingerprint, order_id)
    SELECT user_id, route, key, fingerprint, id FROM asking ORDER BY user_id, route, key
    ON CONFLICT (user_id, route, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, order_id = excluded.order_id, created_at = now(), decision = NULL, trace_id = NULL, told = false
    WHERE held.created_at < now() - make_interval(secs => (SELECT max(retention_seconds) FROM asking))
    RETURNING order_id
), placed AS (
    INSERT INTO orders (id, user_id, currency, total_amount, payment_method, created_at, idempotency_key, sealed_email, traceparent,
                        tracestate, lease_until)
    SELECT c.id, c.user_id, c.currency, c.total_amount, c.payment_method, c.created_at, c.key, c.sealed_email, c.traceparent, c.tracestate,
           now() + make_interval(secs => c.lease_seconds)
    FROM calls c WHERE c.key IS NULL OR c.id IN (SELECT order_id FROM claimed)
    RETURNING id
), lined AS (
    INSERT INTO order_lines (order_id, position, sku, quantity, unit_price)
    SELECT c.id, line.position, line.sku, line.quantity, line.unit_price
    FROM placed JOIN calls c ON c.id = placed.id
         CROSS JOIN ROWS FROM (jsonb_to_recordset(c.lines) AS (sku text, quantity bigint, unit_price bigint))
                    WITH ORDINALITY AS line (sku, quantity, unit_price, position)
)
SELECT c.call, c.id FROM calls c JOIN placed ON placed.id = c.id
