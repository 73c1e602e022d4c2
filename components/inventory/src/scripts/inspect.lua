-- How counters stand, in one moment. KEYS: expiry index, then a counter per sku. ARGV: the skus.
-- Replies one value per sku ('' where there is none), then id, sku, quantity of every open line of these skus.
local reply, wanted = {}, {}
for i = 1, #ARGV do
  reply[i] = redis.call('GET', KEYS[i + 1]) or ''
  wanted[ARGV[i]] = true
end
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  local fields = redis.call('HGETALL', 'reservation:' .. id)
  for i = 1, #fields, 2 do
    local sku = string.match(fields[i], '^l:(.+)$')
    if sku and wanted[sku] then
      reply[#reply + 1] = id
      reply[#reply + 1] = sku
      reply[#reply + 1] = fields[i + 1]
    end
  end
end
return reply
