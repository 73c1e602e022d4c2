-- Takes lines out of the available stock, all or none; idempotent by id.
-- KEYS: reservation, expiry index, one counter per line. ARGV: id, ttl_ms, marker_ms, then sku and quantity per line.
-- Replies {'reserved'} | {'closed'} | {'missing', line, ...} | {'short', line, available, ...}; lines count from 1.
local now = now_ms()
local state = redis.call('HGET', KEYS[1], 'state')
if state == 'reserved' and tonumber(redis.call('HGET', KEYS[1], 'expires')) > now then
  return {'reserved'}
elseif state then
  return {'closed'}
end

local missing, short = {'missing'}, {'short'}
for line = 1, #KEYS - 2 do
  local available = redis.call('GET', KEYS[line + 2])
  if not available then
    missing[#missing + 1] = line
  elseif tonumber(available) < tonumber(ARGV[3 + 2 * line]) then
    short[#short + 1] = line
    short[#short + 1] = math.max(0, tonumber(available))
  end
end
if #missing > 1 then return missing end
if #short > 1 then return short end

local expires = string.format('%.0f', now + tonumber(ARGV[2]))
redis.call('HSET', KEYS[1], 'state', 'reserved', 'expires', expires, 'marker_ms', ARGV[3])
for line = 1, #KEYS - 2 do
  redis.call('DECRBY', KEYS[line + 2], ARGV[3 + 2 * line])
  redis.call('HSET', KEYS[1], 'l:' .. ARGV[2 + 2 * line], ARGV[3 + 2 * line])
end
redis.call('ZADD', KEYS[2], expires, ARGV[1])
return {'reserved'}
