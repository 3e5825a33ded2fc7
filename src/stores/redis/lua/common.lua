-- Stands before every script. All numbers are whole and below 2^53, where Lua's doubles are exact.
local function nowMs()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function whole(number) return string.format('%.0f', number) end

-- An account's fields as numbers; nil when there is no such token.
local function readAccount(key)
  local found = redis.call('HMGET', key, 'credited', 'charged', 'held', 'holds')
  if not found[1] then return nil end
  local account = { credited = tonumber(found[1]), charged = tonumber(found[2] or 0) }
  account.held, account.holds = tonumber(found[3] or 0), tonumber(found[4] or 0)
  account.balance = account.credited - account.charged - account.held
  return account
end

-- A hold is kept as "token micros least rowAsJson"; the row is empty until an answer has begun.
local function readHold(text)
  local token, micros, least, row = string.match(text, '^(%S+) (%d+) (%d+) (.*)$')
  return { token = token, micros = tonumber(micros), least = tonumber(least), row = row }
end

local function writeHold(hold)
  return hold.token .. ' ' .. whole(hold.micros) .. ' ' .. whole(hold.least) .. ' ' .. hold.row
end

