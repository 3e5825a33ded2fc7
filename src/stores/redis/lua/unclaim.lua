-- KEYS: what a client's key stands for, whether its request was charged, how many keys the token has, its answers in
-- their order, bytes of answers by token, bytes of all.
-- ARGV: claim, 'answered' or 'free', answer or '', large answer's id or '', token, the key's hash, most bytes of the
-- token, most bytes of all, before a token's list of answers, before a token's claims.
-- After the first end nothing changes. Answers 2 when the answer was kept.
local found = redis.call('HMGET', KEYS[1], 'claim', 'state', 'at')
if found[1] ~= ARGV[1] or found[2] ~= 'running' then return 0 end
-- Also when Redis is full: only the answer is left out then, for whoever sends this.
redis.call('DEL', KEYS[2])
if ARGV[2] == 'free' then
  redis.call('HINCRBY', KEYS[3], hourOf(found[3]), -1)
  return redis.call('DEL', KEYS[1])
end
redis.call('HSET', KEYS[1], 'state', 'answered')
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'large', ARGV[4]) end
if ARGV[3] == '' then return 1 end
local token, bytes, mostOwn, mostAll = ARGV[5], string.len(ARGV[3]), tonumber(ARGV[7]), tonumber(ARGV[8])
if bytes > mostOwn then return 1 end
local dropped = 0
while true do
  local own = tonumber(redis.call('ZSCORE', KEYS[5], token) or 0) + bytes
  local isOver = own > mostOwn
  if not isOver and tonumber(redis.call('GET', KEYS[6]) or 0) + bytes <= mostAll then break end
  local most = redis.call('ZREVRANGE', KEYS[5], 0, 0, 'WITHSCORES')
  local victim = (isOver or not most[1]) and token or most[1]
  -- More would hold everybody up; the next one finds the room.
  dropped = dropped + 1
  if dropped > 500 then return 1 end
  -- Nobody gives way to one that would have more than it.
  if victim ~= token and tonumber(most[2]) < own then return 1 end
  if not dropOldest(ARGV[9] .. victim, ARGV[10] .. victim .. ':', victim, KEYS[5], KEYS[6]) then return 1 end
end
redis.call('HSET', KEYS[1], 'answer', ARGV[3])
redis.call('RPUSH', KEYS[4], ARGV[6] .. ' ' .. bytes .. ' ' .. found[3])
redis.call('ZINCRBY', KEYS[5], bytes, token)
redis.call('INCRBY', KEYS[6], bytes)
return 2
