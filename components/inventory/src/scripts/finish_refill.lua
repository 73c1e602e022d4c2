-- Sets counters that are still missing and whose ticket still stands. KEYS: a counter and a refill ticket per sku.
-- ARGV: ticket and value per sku. Replies how many were set.
local set = 0
for i = 1, #KEYS, 2 do
  if redis.call('EXISTS', KEYS[i]) == 0 and redis.call('GET', KEYS[i + 1]) == ARGV[i] then
    redis.call('SET', KEYS[i], ARGV[i + 1])
    redis.call('DEL', KEYS[i + 1])
    set = set + 1
  end
end
return set
