-- KEYS: account, the owner's holds, how this hold ended, replicas, further accounts.
-- ARGV: hold, micros, least, accounts, owner.
-- Answers {1, micros, balance}, or {0} when a balance does not cover it. Run twice it is one hold.
-- Who asks for a hold lives: nobody may take it for dead before the hold is as old as that.
evenWhenFull()
redis.call('ZADD', KEYS[4], whole(nowMs()), ARGV[5])
local accounts = readAccounts(4)
if not accounts then return { 0 } end
local before = redis.call('HGET', KEYS[2], ARGV[1])
if before then return { 1, whole(readHold(before).micros), whole(leastBalance(accounts)) } end
-- Given up by its owner before it came here.
if redis.call('EXISTS', KEYS[3]) == 1 then return { 0 } end
local micros, least = tonumber(ARGV[2]), tonumber(ARGV[3])
local granted = micros
for index = 1, #accounts do
  local account = accounts[index]
  if account.balance < micros then
    if account.holds > 0 then return { 0 } end
    granted = math.min(granted, account.balance)
  end
end
if granted < micros and granted < math.max(1, least) then return { 0 } end
redis.call('HSET', KEYS[2], ARGV[1], writeHold({ accounts = ARGV[4], micros = granted, least = 0, row = '' }))
for index = 1, #accounts do
  local key = accounts[index].key
  add(key, 'balance', 0 - granted)
  add(key, 'held', granted)
  add(key, 'holds', 1)
end
return { 1, whole(granted), whole(leastBalance(accounts) - granted) }
