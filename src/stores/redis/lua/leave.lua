-- KEYS: replicas, the owner's holds.  ARGV: owner, dead after (ms; 0: it leaves by itself).
-- Forgets a replica; one that left holds is dead at once instead, one that is back stays.
evenWhenFull()
if isAlive(KEYS[1], ARGV[1], tonumber(ARGV[2])) then return 0 end
if redis.call('EXISTS', KEYS[2]) == 1 then return redis.call('ZADD', KEYS[1], 'XX', 0, ARGV[1]) end
return redis.call('ZREM', KEYS[1], ARGV[1])
