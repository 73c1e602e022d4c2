SELECT sorted.call, pg_advisory_xact_lock(sorted.number)::text AS locked
FROM (SELECT c.call, hashtextextended(c.order_id, 0) AS number FROM unnest($1::text[]) WITH ORDINALITY AS c (order_id, call)
      ORDER BY number OFFSET 0) AS sorted
