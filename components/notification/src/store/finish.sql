WITH calls AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[])
        WITH ORDINALITY AS c (order_id, kind, event_id, state, consumer, call)
), marked AS (
    UPDATE mails m SET state = c.state, updated_at = now() FROM calls c
    WHERE m.order_id = c.order_id AND m.kind = c.kind AND m.state = 'sending'
), noted AS (
    INSERT INTO inbox (consumer, event_id)
    SELECT consumer, event_id FROM calls WHERE state = 'sent' ORDER BY event_id ON CONFLICT DO NOTHING
)
SELECT call FROM calls
