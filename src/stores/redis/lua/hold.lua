-- KEYS: account, the owner's holds, how this hold ended, replicas.  ARGV: hold, micros, least, token, owner.
-- Answers {1, micros, balance}, or {0} when the balance does not cover it. Run twice it is one hold.
-- Who asks for a hold lives: nobody may take it for dead before the hold is as old as that.
evenWhenFull()
redis.call('ZADD', KEYS[4], whole(nowMs()), ARGV[5])
local account = readAccount(KEYS[1])
if not account then return { 0 } end
local before = redis.call('HGET', KEYS[2], ARGV[1])
if before then return { 1, whole(readHold(before).micros), whole(account.balance) } end
-- Given up by its owner before it came here.
if redis.call('EXISTS', KEYS[3]) == 1 then return { 0 } end
local micros, least = tonumber(ARGV[2]), tonumber(ARGV[3])
if account.balance < micros then
  if account.holds > 0 or account.balance < math.max(1, least) then return { 0 } end
  micros = account.balance
end
redis.call('HSET', KEYS[2], ARGV[1], writeHold({ token = ARGV[4], micros = micros, least = 0, row = '' }))
add(KEYS[1], 'balance', 0 - micros)
add(KEYS[1], 'held', micros)
add(KEYS[1], 'holds', 1)
return { 1, whole(micros), whole(account.balance - micros) }
