-- KEYS: account, this operation.  ARGV: token, micros (may be negative), most credits, seconds to remember.
-- Answers 'ok', 'none' (no such token), 'other' (the id stands for another change), 'small' or 'much'.
evenWhenFull()
local what = ARGV[1] .. ' ' .. ARGV[2]
local before = redis.call('GET', KEYS[2])
if before == what then
  -- A write, so that whoever asks again waits for a replica as well.
  redis.call('EXPIRE', KEYS[2], ARGV[4])
  return 'ok'
end
if before then return 'other' end
local account = readAccount(KEYS[1])
if not account then return 'none' end
local micros = tonumber(ARGV[2])
if account.balance + micros < 0 then return 'small' end
if account.credited + micros > tonumber(ARGV[3]) then return 'much' end
add(KEYS[1], 'credited', micros)
add(KEYS[1], 'balance', micros)
redis.call('SET', KEYS[2], what, 'EX', ARGV[4])
return 'ok'
