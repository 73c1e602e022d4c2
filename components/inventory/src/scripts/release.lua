-- Gives a reservation back and bars a later one; idempotent. What was applied stays applied.
-- KEYS: reservation, expiry index. ARGV: id, marker_ms.
-- Replies the state that it is in now: 'released' | 'applied'. Touches the counters of the reservation's own skus.
local state = redis.call('HGET', KEYS[1], 'state')
if state == 'applied' then return state end
if state == 'reserved' then give_back(KEYS[1]) end
close(KEYS[1], KEYS[2], ARGV[1], 'released', tonumber(ARGV[2]))
return 'released'
