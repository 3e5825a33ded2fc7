-- KEYS: the carrier's lock, usage rows.  ARGV: "fence owner", then the entries that are written. Only by who holds the lock.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
for index = 2, #ARGV do redis.call('XDEL', KEYS[2], ARGV[index]) end
return 1
