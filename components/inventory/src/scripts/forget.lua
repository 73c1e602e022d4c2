-- Drops the hold of a finished adjustment, whatever became of it, and forgets the counter, which is then worked out again.
-- KEYS: reservation, expiry index, counter, refill ticket. ARGV: id.
close(KEYS[1], KEYS[2], ARGV[1], 'forgotten', 0)
redis.call('DEL', KEYS[3], KEYS[4])
return 'forgotten'
