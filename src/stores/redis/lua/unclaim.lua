-- KEYS: what a client's key stands for.  ARGV: claim, 'answered' or 'free', answer or ''.  After the first end nothing changes.
local found = redis.call('HMGET', KEYS[1], 'claim', 'state')
if found[1] ~= ARGV[1] or found[2] ~= 'running' then return 0 end
if ARGV[2] == 'free' then return redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 'state', 'answered')
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'answer', ARGV[3]) end
return 1
