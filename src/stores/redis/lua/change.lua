-- KEYS: tokens, hashes.  ARGV: id, record before, record after, then hashes to forget and to know ("-hash", "+hash").
-- Answers 'ok', 'changed' (somebody else was faster: read again) or 'hash' (another token has that secret).
evenWhenFull()
local found = redis.call('HGET', KEYS[1], ARGV[1])
if found == ARGV[3] then return 'ok' end
if found ~= ARGV[2] then return 'changed' end
for index = 4, #ARGV do
  local hash = string.sub(ARGV[index], 2)
  local owner = redis.call('HGET', KEYS[2], hash)
  if string.sub(ARGV[index], 1, 1) == '+' and owner and owner ~= ARGV[1] then return 'hash' end
end
for index = 4, #ARGV do
  local hash = string.sub(ARGV[index], 2)
  if string.sub(ARGV[index], 1, 1) == '+' then
    redis.call('HSET', KEYS[2], hash, ARGV[1])
  else
    redis.call('HDEL', KEYS[2], hash)
  end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 'ok'
