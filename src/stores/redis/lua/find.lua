-- KEYS: tokens, hashes.  ARGV: hash.  The record, or false.
local id = redis.call('HGET', KEYS[2], ARGV[1])
return id and redis.call('HGET', KEYS[1], id)
