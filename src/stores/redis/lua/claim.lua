-- KEYS: what a client's key stands for, replicas, whether the request was charged.
-- ARGV: claim, fingerprint, request id, owner, ms to remember, when the request came.
-- Answers {'claimed'}, {'mismatch'}, {'running', request}, {'answered', request, answer or ''} or
-- {'orphan', request}: its owner is dead, ask with `orphan`. Run twice it is one claim.
local found = redis.call('HMGET', KEYS[1], 'claim', 'fingerprint', 'request', 'owner', 'state', 'answer', 'at')
if found[1] and tonumber(ARGV[6]) - tonumber(found[7]) < tonumber(ARGV[5]) then
  if found[1] == ARGV[1] then return { 'claimed' } end
  if found[2] ~= ARGV[2] then return { 'mismatch' } end
  if found[5] == 'answered' then return { 'answered', found[3], found[6] or '' } end
  if redis.call('ZSCORE', KEYS[2], found[4]) then return { 'running', found[3] } end
  return { 'orphan', found[3] }
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'at', ARGV[6], 'claim', ARGV[1], 'fingerprint', ARGV[2], 'request', ARGV[3], 'owner', ARGV[4], 'state', 'running')
redis.call('PEXPIRE', KEYS[1], 2 * ARGV[5])
redis.call('SET', KEYS[3], '0', 'PX', 2 * ARGV[5])
return { 'claimed' }
