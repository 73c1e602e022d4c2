WITH calls AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[]) WITH ORDINALITY AS c (order_id, kind, event_id, message_id, call)
), begun AS (
    INSERT INTO mails AS m (order_id, kind, event_id, state, message_id)
    SELECT order_id, kind, event_id, 'sending', message_id FROM calls ORDER BY order_id, kind
    ON CONFLICT (order_id, kind) DO UPDATE SET
        state = CASE m.state WHEN 'refused' THEN 'sending' ELSE m.state END,
        attempts = m.attempts + (m.state IN ('sending', 'refused'))::int,
        updated_at = now()
    RETURNING m.order_id, m.kind, m.state = 'sending' AS send, m.message_id
)
SELECT c.call, b.send, b.message_id FROM calls c JOIN begun b ON b.order_id = c.order_id AND b.kind = c.kind
