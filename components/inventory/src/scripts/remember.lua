-- Caches products, never an older version over a newer one. KEYS: one per product. ARGV: ttl_ms, then version and JSON per product.
for i = 1, #KEYS do
  local version, json = tonumber(ARGV[2 * i]), ARGV[2 * i + 1]
  local known = redis.call('GET', KEYS[i])
  local newer = false
  if known then
    local parsed, product = pcall(cjson.decode, known)
    newer = parsed and type(product) == 'table' and (tonumber(product.version) or 0) > version
  end
  if not newer then redis.call('SET', KEYS[i], json, 'PX', ARGV[1]) end
end
return #KEYS
