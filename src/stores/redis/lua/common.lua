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
  return { credited = tonumber(found[1]), balance = tonumber(found[2]), holds = tonumber(found[3]) }
end

-- Whether a replica has said within so many ms that it lives; 0 asks nobody.
local function isAlive(replicas, owner, deadAfterMs)
  if deadAfterMs == 0 then return false end
  local beat = redis.call('ZSCORE', replicas, owner)
  return beat and tonumber(beat) > nowMs() - deadAfterMs
end

local function add(key, field, amount) redis.call('HINCRBY', key, field, whole(amount)) end

-- A hold is kept as "token micros least rowAsJson"; the row is empty until an answer has begun.
local function readHold(text)
  local token, micros, least, row = string.match(text, '^(%S+) (%d+) (%d+) (.*)$')
  return { token = token, micros = tonumber(micros), least = tonumber(least), row = row }
end

local function writeHold(hold)
  return hold.token .. ' ' .. whole(hold.micros) .. ' ' .. whole(hold.least) .. ' ' .. hold.row
end

