-- KEYS: account, the owner's holds, replicas, further accounts.  ARGV: hold, micros in all, least in all, owner.
-- Answers {1, micros, balance}, {2, micros, balance} when a balance has not that much, or {0} when no such hold stands.
-- Run twice, or behind one that asked for more, it changes nothing. As with a hold: who asks lives.
evenWhenFull()
local found = redis.call('HGET', KEYS[2], ARGV[1])
local accounts = readAccounts(3)
if not found or not accounts then return { 0 } end
redis.call('ZADD', KEYS[3], whole(nowMs()), ARGV[4])
local hold, micros, least = readHold(found), tonumber(ARGV[2]), tonumber(ARGV[3])
local balance = leastBalance(accounts)
if micros <= hold.micros then return { 1, whole(hold.micros), whole(balance) } end
local more = math.min(micros - hold.micros, balance)
if hold.micros + more < math.min(micros, least) then return { 2, whole(hold.micros), whole(balance) } end
hold.micros = hold.micros + more
redis.call('HSET', KEYS[2], ARGV[1], writeHold(hold))
for _, account in ipairs(accounts) do
  add(account.key, 'balance', 0 - more)
  add(account.key, 'held', more)
end
return { 1, whole(hold.micros), whole(balance - more) }
