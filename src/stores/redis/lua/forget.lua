-- KEYS: a token's answers in their order, bytes of answers by token, bytes of all.
-- ARGV: token, its answers from then on are kept, before the token's claims, most at once.
-- Takes answers of yesterday off the sums: their keys are gone by themselves. Answers how many.
for count = 0, tonumber(ARGV[4]) - 1 do
  local at = string.match(redis.call('LINDEX', KEYS[1], 0) or '', ' (%d+)$')
  if at and tonumber(at) >= tonumber(ARGV[2]) then return count end
  if not dropOldest(KEYS[1], ARGV[3], ARGV[1], KEYS[2], KEYS[3]) then return count end
end
return tonumber(ARGV[4])
