-- KEYS: account, the owner's holds, replicas.  ARGV: hold, micros in all, least in all, owner.
-- Answers {1, micros, balance}, {2, micros, balance} when the balance has not that much, or {0} when no such hold stands.
-- Run twice, or behind one that asked for more, it changes nothing. As with a hold: who asks lives.
evenWhenFull()
local found = redis.call('HGET', KEYS[2], ARGV[1])
local account = readAccount(KEYS[1])
if not found or not account then return { 0 } end
redis.call('ZADD', KEYS[3], whole(nowMs()), ARGV[4])
local hold, micros, least = readHold(found), tonumber(ARGV[2]), tonumber(ARGV[3])
if micros <= hold.micros then return { 1, whole(hold.micros), whole(account.balance) } end
local more = math.min(micros - hold.micros, account.balance)
if hold.micros + more < math.min(micros, least) then return { 2, whole(hold.micros), whole(account.balance) } end
hold.micros = hold.micros + more
redis.call('HSET', KEYS[2], ARGV[1], writeHold(hold))
add(KEYS[1], 'balance', 0 - more)
add(KEYS[1], 'held', more)
return { 1, whole(hold.micros), whole(account.balance - more) }
