-- KEYS: the carrier's lock, its last number.  ARGV: owner, ms.  The fence number while this owner may carry, else 0.
evenWhenFull()
local held = redis.call('GET', KEYS[1])
local number = held and tonumber(string.match(held, '^(%d+) '))
if held and string.match(held, '^%d+ (.*)$') ~= ARGV[1] then return 0 end
if not held then number = redis.call('INCR', KEYS[2]) end
redis.call('SET', KEYS[1], number .. ' ' .. ARGV[1], 'PX', ARGV[2])
return number
