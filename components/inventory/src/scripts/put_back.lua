-- Closes the reservation of an order whose stock was put back on the shelf in PostgreSQL, and forgets its counters, which are then worked out again;
-- idempotent. KEYS: reservation, expiry index, then a counter and a refill ticket per line. ARGV: id, marker_ms.
for i = 3, #KEYS do redis.call('DEL', KEYS[i]) end
close(KEYS[1], KEYS[2], ARGV[1], 'released', tonumber(ARGV[2]))
return 'released'
