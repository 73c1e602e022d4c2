-- Forgets counters that were found wrong by the same amount some time ago and still are; the others are only remembered as doubtful.
-- KEYS: a counter, a refill ticket and a doubt per sku. ARGV: least age of a doubt in ms, then the value seen and what it is too high by, per sku.
-- Replies 1 (forgotten) or 0 per sku.
local now, reply = now_ms(), {}
for i = 1, #KEYS, 3 do
  local seen, excess = ARGV[(i - 1) / 3 * 2 + 2], ARGV[(i - 1) / 3 * 2 + 3]
  local doubt, since = string.match(redis.call('GET', KEYS[i + 2]) or '', '^(-?%d+)@(%d+)$')
  reply[#reply + 1] = 0
  if doubt ~= excess then
    redis.call('SET', KEYS[i + 2], excess .. '@' .. string.format('%.0f', now), 'PX', 60000)
  elseif now - tonumber(since) >= tonumber(ARGV[1]) and redis.call('GET', KEYS[i]) == seen then
    redis.call('DEL', KEYS[i], KEYS[i + 1], KEYS[i + 2])
    reply[#reply] = 1
  end
end
return reply
