-- Stands before every script. All numbers are whole and below 2^53, where Lua's doubles are exact.
local function nowMs()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function whole(number) return string.format('%.0f', number) end

-- An account's fields as numbers; nil when there is no such token. credited = balance + held + charged in each of
-- them, and none is computed from the others: so that a check of the books can find a mistake.
local function readAccount(key)
  local found = redis.call('HMGET', key, 'credited', 'balance', 'holds')
  if not found[1] then return nil end
  return { key = key, credited = tonumber(found[1]), balance = tonumber(found[2]), holds = tonumber(found[3]) }
end

-- The accounts that pay: the token's own is the first key, further ones stand behind the first so many. Nil when one of
-- them is not there.
local function readAccounts(others)
  local own = readAccount(KEYS[1])
  if not own then return nil end
  local accounts = { own }
  for index = others + 1, #KEYS do
    local account = readAccount(KEYS[index])
    if not account then return nil end
    table.insert(accounts, account)
  end
  return accounts
end

local function leastBalance(accounts)
  local least = accounts[1].balance
  for index = 2, #accounts do least = math.min(least, accounts[index].balance) end
  return least
end

-- Whether a replica has said within so many ms that it lives; 0 asks nobody.
local function isAlive(replicas, owner, deadAfterMs)
  if deadAfterMs == 0 then return false end
  local beat = redis.call('ZSCORE', replicas, owner)
  return beat and tonumber(beat) > nowMs() - deadAfterMs
end

local function add(key, field, amount) redis.call('HINCRBY', key, field, whole(amount)) end

-- A hold is kept as "accounts micros least rowAsJson", the accounts with a comma between them; the row is empty until an answer has begun.
local function readHold(text)
  local accounts, micros, least, row = string.match(text, '^(%S+) (%d+) (%d+) (.*)$')
  return { accounts = accounts, micros = tonumber(micros), least = tonumber(least), row = row }
end

local function writeHold(hold)
  return hold.accounts .. ' ' .. whole(hold.micros) .. ' ' .. whole(hold.least) .. ' ' .. hold.row
end

local HOUR_MS = 3600000

local function hourOf(at) return math.floor(tonumber(at) / HOUR_MS) end

-- A Redis that is full refuses a script at its first write that needs memory, and none after any other write: what
-- bills and balances need goes on, within the head room above `maxmemory`; new keys of clients and new tokens do not.
local function evenWhenFull() redis.call('DEL', KEYS[1] .. ':none') end

-- Takes the oldest answer of a token's list away from its key; false when there is none.
local function dropOldest(list, claims, token, sums, total)
  local entry = redis.call('LPOP', list)
  if not entry then
    -- A list that has expired leaves its sum behind.
    local left = tonumber(redis.call('ZSCORE', sums, token) or 0)
    redis.call('ZREM', sums, token)
    if left > 0 then redis.call('DECRBY', total, whole(left)) end
    if redis.call('ZCARD', sums) == 0 then redis.call('DEL', total) end
    return left > 0
  end
  local hash, bytes, at = string.match(entry, '^(%S+) (%d+) (%d+)$')
  if redis.call('HGET', claims .. hash, 'at') == at then redis.call('HDEL', claims .. hash, 'answer') end
  redis.call('DECRBY', total, bytes)
  if tonumber(redis.call('ZINCRBY', sums, 0 - tonumber(bytes), token)) <= 0 then redis.call('ZREM', sums, token) end
  return true
end

