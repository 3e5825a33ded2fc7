-- KEYS: what a client's key stands for, replicas, whether the request was charged, how many keys the token has.
-- ARGV: claim, fingerprint, request id, owner, ms to remember, when the request came, most keys,
-- bytes of the body.
-- Answers {'claimed'}, {'mismatch'}, {'running', request}, {'answered', request, answer or '', large answer's id or ''},
-- {'full', ms until there is room} or {'orphan', request}: its owner is dead, ask with `orphan`. Run twice it is one claim.
local found = redis.call('HMGET', KEYS[1], 'claim', 'fingerprint', 'request', 'owner', 'state', 'answer', 'at', 'large')
local at, memory = tonumber(ARGV[6]), tonumber(ARGV[5])
if found[1] and at - tonumber(found[7]) < memory then
  if found[1] == ARGV[1] then return { 'claimed' } end
  if found[2] ~= ARGV[2] then return { 'mismatch' } end
  if found[5] == 'answered' then return { 'answered', found[3], found[6] or '', found[8] or '' } end
  if redis.call('ZSCORE', KEYS[2], found[4]) then return { 'running', found[3] } end
  return { 'orphan', found[3] }
end
local hours, count, first = redis.call('HGETALL', KEYS[4]), 0, nil
local oldest = hourOf(at - memory)
for index = 1, #hours, 2 do
  local hour = tonumber(hours[index])
  if hour >= oldest then
    count = count + tonumber(hours[index + 1])
    first = math.min(first or hour, hour)
  end
end
if count >= tonumber(ARGV[7]) then return { 'full', whole(math.max(1000, ((first or hourOf(at)) + 1) * HOUR_MS + memory - at)) } end
-- The first write, and one that needs memory: a Redis that is full refuses all of it.
redis.call('HINCRBY', KEYS[4], hourOf(at), 1)
for index = 1, #hours, 2 do
  if tonumber(hours[index]) < oldest then redis.call('HDEL', KEYS[4], hours[index]) end
end
redis.call('PEXPIRE', KEYS[4], memory + 2 * HOUR_MS)
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'at', ARGV[6], 'claim', ARGV[1], 'fingerprint', ARGV[2], 'request', ARGV[3], 'owner', ARGV[4], 'state', 'running', 'bytes', ARGV[8])
-- Longer than it counts, by what clocks of replicas may differ.
redis.call('PEXPIRE', KEYS[1], memory + HOUR_MS)
redis.call('SET', KEYS[3], '0', 'PX', memory + HOUR_MS)
return { 'claimed' }
