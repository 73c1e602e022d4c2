-- Ids of reservations whose time is over, oldest first. KEYS: expiry index. ARGV: how many at most.
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now_ms()), 'LIMIT', 0, ARGV[1])
