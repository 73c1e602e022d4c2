-- Closes the reservation of an order whose lines were taken from on_hand in PostgreSQL; idempotent.
-- KEYS: reservation, expiry index, then a counter and a refill ticket per line. ARGV: id, marker_ms.
-- An open reservation was counted already, so nothing changes. If there is none (it lapsed, or Redis lost it) the counter does not
-- know of this order: it is forgotten, and whoever needs it next works it out again from PostgreSQL, which is exact.
-- Replies 'applied' | 'forgotten'.
local state = redis.call('HGET', KEYS[1], 'state')
if state == 'applied' then return 'applied' end
if state ~= 'reserved' then
  for i = 3, #KEYS do redis.call('DEL', KEYS[i]) end
end
close(KEYS[1], KEYS[2], ARGV[1], 'applied', tonumber(ARGV[2]))
if state == 'reserved' then return 'applied' end
return 'forgotten'
