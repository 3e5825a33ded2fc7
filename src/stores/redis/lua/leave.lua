-- KEYS: replicas, the owner's holds.  ARGV: owner.  Forgets a replica; one that left holds is dead at once instead.
if redis.call('EXISTS', KEYS[2]) == 1 then return redis.call('ZADD', KEYS[1], 'XX', 0, ARGV[1]) end
return redis.call('ZREM', KEYS[1], ARGV[1])
