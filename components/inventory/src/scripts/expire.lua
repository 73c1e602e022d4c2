-- Ends overdue reservations. KEYS: expiry index, then one reservation per id.
-- ARGV: per id the id and what PostgreSQL knows of it: 'applied' (taken from on_hand: keep it taken) or 'lapsed' (give it back).
-- Replies how many were ended.
local now, ended = now_ms(), 0
for i = 2, #KEYS do
  local id, verdict = ARGV[2 * i - 3], ARGV[2 * i - 2]
  local score = redis.call('ZSCORE', KEYS[1], id)
  if score and tonumber(score) <= now then
    local state = redis.call('HGET', KEYS[i], 'state')
    if state == 'reserved' then
      local marker_ms = tonumber(redis.call('HGET', KEYS[i], 'marker_ms'))
      if verdict == 'applied' then
        close(KEYS[i], KEYS[1], id, 'applied', marker_ms)
      else
        give_back(KEYS[i])
        close(KEYS[i], KEYS[1], id, 'released', marker_ms)
      end
    else
      redis.call('ZREM', KEYS[1], id)
    end
    ended = ended + 1
  end
end
return ended
