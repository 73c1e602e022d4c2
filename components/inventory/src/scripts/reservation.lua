-- What the scripts that end a reservation share. A reservation is a hash: state, expires (ms), marker_ms, and "l:<sku>" = quantity.

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Leaves only the final state for a while, so that the reservation cannot be made again; marker_ms 0 leaves nothing.
local function close(reservation, expiry, id, state, marker_ms)
  redis.call('ZREM', expiry, id)
  redis.call('DEL', reservation)
  if marker_ms > 0 then
    redis.call('HSET', reservation, 'state', state)
    redis.call('PEXPIRE', reservation, marker_ms)
  end
end

-- Puts every line back. Where a counter is missing somebody may be working out its value just now, counting this reservation as
-- open: the lost ticket makes them start again.
local function give_back(reservation)
  local fields = redis.call('HGETALL', reservation)
  for i = 1, #fields, 2 do
    local sku = string.match(fields[i], '^l:(.+)$')
    if sku then
      if redis.call('EXISTS', 'available_stock:' .. sku) == 1 then
        redis.call('INCRBY', 'available_stock:' .. sku, fields[i + 1])
      else
        redis.call('DEL', 'stock_refill:' .. sku)
      end
    end
  end
end
