WITH calls AS (
    SELECT *, 'PENDING' AS open
    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
                $11::uuid[], $12::text[], $13::text[], $14::jsonb[], $15::text[], $16::text[], $17::text[], $18::boolean[], $19::text[])
         WITH ORDINALITY AS c (id, epoch, old_version, state, new_version, decided_by, failure_code, failure_message, payment_provider,
                               payment_id, event_id, topic, payload, headers, key, decision, trace_id, told, route, call)
), decided AS (
    UPDATE orders o
    SET state = c.state, version = c.new_version, decided_at = now(), decided_by = c.decided_by, failure_code = c.failure_code,
        failure_message = c.failure_message, payment_provider = c.payment_provider, payment_id = c.payment_id, lease_until = NULL
    FROM calls c
    WHERE o.id = c.id AND o.state = c.open AND o.lease_epoch = c.epoch AND o.version = c.old_version
    RETURNING c.call, o.id, o.user_id, c.route, c.key, c.decision, c.trace_id, c.told
), published AS (
    INSERT INTO outbox (event_id, topic, key, payload, headers)
    SELECT c.event_id, c.topic, d.id::text, c.payload, c.headers FROM decided d JOIN calls c ON c.call = d.call ORDER BY d.call
), answered AS (
    UPDATE idempotency_keys k SET decision = d.decision, trace_id = d.trace_id, told = d.told FROM decided d
    WHERE k.user_id = d.user_id AND k.route = d.route AND k.key = d.key AND k.order_id = d.id AND d.decision IS NOT NULL
), freed AS (
    DELETE FROM idempotency_keys k USING decided d
    WHERE k.user_id = d.user_id AND k.route = d.route AND k.key = d.key AND k.order_id = d.id AND d.decision IS NULL
)
SELECT call, id FROM decided
