-- KEYS: account, the owner's holds, how this hold ended, usage rows, meta, whether the request was charged, replicas,
-- further accounts.
-- ARGV: hold's field, its name for all time, cost, row, mode, most rows kept, owner, dead after (ms; for "reap").
-- mode "settle": by its owner, once; "reap": the owner is dead, the hold's own least is the cost; "cancel": never used.
-- Answers {charged, balance}.  Whatever is repeated changes nothing.
evenWhenFull()
local accounts = readAccounts(7) or { { key = KEYS[1], balance = 0 } }
local balance = leastBalance(accounts)
local cost, row, mode = tonumber(ARGV[3]), ARGV[4], ARGV[5]
-- Dead when it was looked up, and back since then: its holds are its own again.
if mode == 'reap' and isAlive(KEYS[7], ARGV[7], tonumber(ARGV[8])) then return { 0, whole(balance) } end

local function note(charged, kind, seconds)
  redis.call('SET', KEYS[3], kind .. ' ' .. whole(charged), 'EX', seconds)
end

local function addToAll(field, amount)
  for index = 1, #accounts do add(accounts[index].key, field, amount) end
end

local function writeRow(key, charged)
  -- Only where a client's idempotency key stands for the request is there anything to note.
  if charged > 0 then redis.call('SET', KEYS[6], '1', 'XX', 'KEEPTTL') end
  if row == '' then return end
  addToAll('rows', charged)
  local most = tonumber(ARGV[6])
  local over = redis.call('XLEN', KEYS[4]) - most + 1
  redis.call('XADD', KEYS[4], 'MAXLEN', most, '*', 'key', key, 'charged', whole(charged), 'row', row)
  if over > 0 then redis.call('HINCRBY', KEYS[5], 'rowsLost', over) end
end

local found = redis.call('HGET', KEYS[2], ARGV[1])
if not found then
  local ended = redis.call('GET', KEYS[3])
  if not ended then
    -- A tombstone: the hold itself may still be on its way here.
    if mode == 'cancel' then note(0, 'cancelled', 900) end
    return { 0, whole(balance) }
  end
  local kind, text = string.match(ended, '^(%a+) (%d+)$')
  local charged = tonumber(text)
  if kind ~= 'reaped' or mode ~= 'settle' then return { whole(charged), whole(balance) } end
  -- Its owner was thought dead and was not: what it was settled at was the least, this is the rest.
  local rest = math.max(0, math.min(cost - charged, balance))
  addToAll('balance', 0 - rest)
  addToAll('charged', rest)
  note(charged + rest, 'settled', 900)
  writeRow(ARGV[2] .. '+', rest)
  return { whole(charged + rest), whole(balance - rest) }
end

local hold = readHold(found)
if mode == 'reap' then
  cost = hold.least
  if hold.row == '' then row = '' end
end
local charged = math.min(cost, hold.micros + balance)
redis.call('HDEL', KEYS[2], ARGV[1])
addToAll('held', 0 - hold.micros)
addToAll('holds', -1)
addToAll('balance', hold.micros - charged)
addToAll('charged', charged)
if mode == 'reap' then note(charged, 'reaped', 86400) else note(charged, 'settled', mode == 'cancel' and 900 or 60) end
writeRow(ARGV[2], charged)
return { whole(charged), whole(balance + hold.micros - charged) }
