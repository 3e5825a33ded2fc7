-- KEYS: account, this operation, further accounts.  ARGV: accounts, micros (may be negative), most credits, seconds to remember.
-- Answers 'ok', 'none' (not all of the accounts are there), 'other' (the id stands for another change), 'small' or 'much'.
evenWhenFull()
local what = ARGV[1] .. ' ' .. ARGV[2]
local before = redis.call('GET', KEYS[2])
if before == what then
  -- A write, so that whoever asks again waits for a replica as well.
  redis.call('EXPIRE', KEYS[2], ARGV[4])
  return 'ok'
end
if before then return 'other' end
local accounts = readAccounts(2)
if not accounts then return 'none' end
local micros = tonumber(ARGV[2])
if leastBalance(accounts) + micros < 0 then return 'small' end
for _, account in ipairs(accounts) do
  if account.credited + micros > tonumber(ARGV[3]) then return 'much' end
end
for _, account in ipairs(accounts) do
  add(account.key, 'credited', micros)
  add(account.key, 'balance', micros)
end
redis.call('SET', KEYS[2], what, 'EX', ARGV[4])
return 'ok'
