-- KEYS: tokens, replicas.  ARGV: before an account's id, before an owner's name, cursor, about how many tokens.
-- {cursor, one moment of these books: {record, credited, balance, held, charged, rows, holds' sum} for each token}: in
-- pages, since Redis serves nobody else meanwhile.
local holds = {}
for _, owner in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
  for _, text in ipairs(redis.call('HVALS', ARGV[2] .. owner)) do
    local hold = readHold(text)
    for account in string.gmatch(hold.accounts, '[^,]+') do
      holds[account] = (holds[account] or 0) + hold.micros
    end
  end
end
local page = redis.call('HSCAN', KEYS[1], ARGV[3], 'COUNT', ARGV[4])
local books, records = {}, page[2]
for index = 1, #records, 2 do
  local id = records[index]
  local sums = redis.call('HMGET', ARGV[1] .. id, 'credited', 'balance', 'held', 'charged', 'rows')
  for field = 1, 5 do sums[field] = sums[field] or 'none' end
  table.insert(books, { records[index + 1], sums[1], sums[2], sums[3], sums[4], sums[5], whole(holds[id] or 0) })
end
return { page[1], books }
