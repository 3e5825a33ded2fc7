-- KEYS: the owner's holds.  ARGV: hold, least, row.  An answer has begun: the first mark stands.
evenWhenFull()
local found = redis.call('HGET', KEYS[1], ARGV[1])
if not found then return 0 end
local hold = readHold(found)
if hold.row ~= '' then return 1 end
hold.least, hold.row = tonumber(ARGV[2]), ARGV[3]
redis.call('HSET', KEYS[1], ARGV[1], writeHold(hold))
return 1
