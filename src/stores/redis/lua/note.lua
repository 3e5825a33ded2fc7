-- KEYS: rows of services.  ARGV: most kept, then of each row its name for all time and the row.
-- 1: all of them are here; 0: none, since too many wait for their database. A Redis that is full refuses them.
if redis.call('XLEN', KEYS[1]) + (#ARGV - 1) / 2 > tonumber(ARGV[1]) then return 0 end
for index = 2, #ARGV, 2 do
  redis.call('XADD', KEYS[1], '*', 'key', ARGV[index], 'charged', '0', 'row', ARGV[index + 1])
end
return 1
