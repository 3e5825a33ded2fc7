-- KEYS: what a client's key stands for, whether its request was charged, how many keys the token has.
-- ARGV: the request's id.  Its owner died: charged, it counts as answered; else the key is free.
local found = redis.call('HMGET', KEYS[1], 'request', 'state', 'at')
if found[1] ~= ARGV[1] or found[2] ~= 'running' then return 0 end
local isCharged = redis.call('GET', KEYS[2]) == '1'
redis.call('DEL', KEYS[2])
if isCharged then return redis.call('HSET', KEYS[1], 'state', 'answered') end
redis.call('HINCRBY', KEYS[3], hourOf(found[3]), -1)
return redis.call('DEL', KEYS[1])
