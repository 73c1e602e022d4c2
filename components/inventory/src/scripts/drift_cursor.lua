-- Where the comparison of counters goes on. KEYS: cursor. ARGV: nothing to read it, or the new one ('' begins again).
if #ARGV == 0 then return redis.call('GET', KEYS[1]) or '' end
if ARGV[1] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[1], 'PX', 60000) end
return ARGV[1]
