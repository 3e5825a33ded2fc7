-- KEYS: a token's places, replicas.  ARGV: place ("owner:number"), most, dead after (ms).
-- 1: it is taken, 0: there is none. Places of dead owners are free.
evenWhenFull()
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 1 end
local alive, taken = nowMs() - tonumber(ARGV[3]), 0
for _, place in ipairs(redis.call('HKEYS', KEYS[1])) do
  local beat = redis.call('ZSCORE', KEYS[2], string.match(place, '^[^:]+'))
  if beat and tonumber(beat) > alive then taken = taken + 1 else redis.call('HDEL', KEYS[1], place) end
end
if taken >= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], 1)
redis.call('EXPIRE', KEYS[1], 86400)
return 1
