-- KEYS: a window.  ARGV: 'minute' or 'day', then 'token' or 'route': of callers of routes there may be any number,
-- so a Redis that is full counts none of them, and refuses.  Answers {count, ms until the window ends}, by the clock of Redis.
if ARGV[2] ~= 'route' then evenWhenFull() end
local now = nowMs()
local length = ARGV[1] == 'day' and 86400000 - now % 86400000 or 60000
local found = redis.call('HMGET', KEYS[1], 'ends', 'count')
local ends = tonumber(found[1] or 0)
-- One that ends later than a new one would was begun by a clock that went ahead of this one: another server's, or set back.
if ends <= now or ends - now > length then
  ends = now + length
  redis.call('HSET', KEYS[1], 'ends', whole(ends), 'count', 1)
  redis.call('PEXPIREAT', KEYS[1], whole(ends + 1000))
  return { 1, length }
end
return { redis.call('HINCRBY', KEYS[1], 'count', 1), ends - now }
