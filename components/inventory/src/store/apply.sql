WITH calls AS (
    SELECT c.*, row_number() OVER (PARTITION BY order_id ORDER BY call) + row_number() OVER (PARTITION BY event_id ORDER BY call) > 2 AS twice
    FROM unnest($1::uuid[], $2::uuid[], $3::jsonb[], $4::text[]) WITH ORDINALITY AS c (event_id, order_id, lines, consumer, call)
), wanted AS (
    SELECT c.call, c.order_id, w.sku, w.quantity FROM calls c, jsonb_to_recordset(c.lines) AS w (sku text, quantity bigint)
), known AS MATERIALIZED (
    SELECT c.call, c.event_id, c.order_id, c.consumer, c.twice,
        (SELECT true FROM inbox i WHERE i.consumer = c.consumer AND i.event_id = c.event_id) IS NOT NULL AS seen,
        (SELECT true FROM closed_orders e WHERE e.order_id = c.order_id) IS NOT NULL AS ended,
        ARRAY(SELECT w.sku FROM wanted w
              WHERE w.call = c.call AND (SELECT true FROM products p WHERE p.sku = w.sku) IS NULL) AS unknown
    FROM calls c
), ready AS MATERIALIZED (
    SELECT call, event_id, order_id, consumer FROM known WHERE NOT twice AND NOT seen AND NOT ended AND unknown = '{}'
), locked AS MATERIALIZED (
    SELECT p.sku, p.on_hand FROM products p
    WHERE p.sku IN (SELECT w.sku FROM wanted w JOIN ready r ON r.call = w.call)
    ORDER BY p.sku FOR UPDATE
), fitted AS MATERIALIZED (
    SELECT w.call, w.sku, w.quantity, l.on_hand, sum(w.quantity) OVER (PARTITION BY w.sku ORDER BY w.call) > l.on_hand AS over
    FROM wanted w JOIN ready r ON r.call = w.call JOIN locked l ON l.sku = w.sku
), event AS (
    INSERT INTO inbox (consumer, event_id)
    SELECT r.consumer, r.event_id FROM ready r
    WHERE NOT EXISTS (SELECT 1 FROM fitted f WHERE f.call = r.call AND f.over) ORDER BY r.event_id
    ON CONFLICT DO NOTHING RETURNING event_id
), applied AS MATERIALIZED (
    SELECT r.call, r.order_id FROM ready r JOIN event e ON e.event_id = r.event_id
), taken AS (
    UPDATE products p SET on_hand = p.on_hand - t.quantity, updated_at = now()
    FROM (SELECT w.sku, sum(w.quantity)::bigint AS quantity FROM wanted w JOIN applied a ON a.call = w.call GROUP BY w.sku) AS t
    WHERE p.sku = t.sku
), moved AS (
    INSERT INTO inventory_movements (sku, kind, delta, order_id)
    SELECT w.sku, 'confirmed', -w.quantity, a.order_id FROM wanted w JOIN applied a ON a.call = w.call ORDER BY w.call, w.sku
)
SELECT k.call, k.seen, k.ended, k.unknown, EXISTS (SELECT 1 FROM applied a WHERE a.call = k.call) AS taken,
    (SELECT true FROM inventory_movements m WHERE m.order_id = k.order_id AND m.kind = 'confirmed' LIMIT 1) IS NOT NULL AS moved_before,
    ARRAY(SELECT f.sku FROM fitted f WHERE f.call = k.call AND f.on_hand < f.quantity ORDER BY f.sku) AS short_skus,
    ARRAY(SELECT f.on_hand FROM fitted f WHERE f.call = k.call AND f.on_hand < f.quantity ORDER BY f.sku) AS short_on_hand,
    k.twice OR EXISTS (SELECT 1 FROM fitted f WHERE f.call = k.call AND f.over) AS again
FROM known k
