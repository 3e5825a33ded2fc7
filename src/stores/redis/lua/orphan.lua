-- KEYS: what a client's key stands for, whether its request was charged.  ARGV: the request's id.
-- Its owner died: charged, it counts as answered; else the key is free.
local found = redis.call('HMGET', KEYS[1], 'request', 'state')
if found[1] ~= ARGV[1] or found[2] ~= 'running' then return 0 end
if redis.call('GET', KEYS[2]) == '1' then return redis.call('HSET', KEYS[1], 'state', 'answered') end
return redis.call('DEL', KEYS[1])
