-- KEYS: meta, replicas.  ARGV: owner, dead after (ms).
-- "I live", by the clock of Redis. Answers {store id or '', rows lost so far, dead owner...}.
evenWhenFull()
local meta = redis.call('HMGET', KEYS[1], 'storeId', 'rowsLost')
if not meta[1] then return { '', '0' } end
local now = nowMs()
redis.call('ZADD', KEYS[2], whole(now), ARGV[1])
-- A beat of the future was heard by a clock that went ahead of this one: it counts as of now, lest a dead replica lives on.
for _, owner in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. whole(now), '+inf', 'LIMIT', 0, 100)) do
  redis.call('ZADD', KEYS[2], whole(now), owner)
end
local dead = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', whole(now - tonumber(ARGV[2])), 'LIMIT', 0, 100)
return { meta[1], meta[2] or '0', unpack(dead) }
