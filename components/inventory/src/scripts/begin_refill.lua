-- Begins to work out missing counters. KEYS: expiry index, then a counter and a refill ticket per sku. ARGV: the skus.
-- Replies one ticket per sku ('' where the counter is there), then id, sku, quantity of every open line of these skus.
-- A ticket is lost as soon as anything happens that would make a value worked out meanwhile wrong.
local reply, wanted, time = {}, false, redis.call('TIME')
for i = 1, #ARGV do
  local counter, ticket = KEYS[2 * i], KEYS[2 * i + 1]
  if redis.call('EXISTS', counter) == 1 then
    reply[i] = ''
  else
    wanted = true
    redis.call('SET', ticket, time[1] .. '.' .. time[2], 'NX', 'PX', 60000)
    reply[i] = redis.call('GET', ticket)
  end
end
if not wanted then return reply end
local fields = {}
for i = 1, #ARGV do fields[i] = 'l:' .. ARGV[i] end
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local quantities = redis.call('HMGET', 'reservation:' .. id, unpack(fields))
  for i = 1, #ARGV do
    if quantities[i] then
      reply[#reply + 1] = id
      reply[#reply + 1] = ARGV[i]
      reply[#reply + 1] = quantities[i]
    end
  end
end
return reply
