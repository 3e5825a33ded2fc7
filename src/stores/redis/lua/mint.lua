-- KEYS: tokens, hashes, names, account, meta.  ARGV: id, hash, name or '', record, credited, 'master' or ''.
-- Answers 'ok', or 'hash' or 'name' (taken; there is one master token). Run twice it is one token.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return 'ok' end
if ARGV[6] == 'master' and redis.call('HEXISTS', KEYS[5], 'master') == 1 then return 'name' end
if redis.call('HEXISTS', KEYS[2], ARGV[2]) == 1 then return 'hash' end
if ARGV[3] ~= '' and redis.call('HSETNX', KEYS[3], ARGV[3], ARGV[1]) == 0 then return 'name' end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[1])
redis.call('HSET', KEYS[4], 'credited', ARGV[5], 'balance', ARGV[5], 'charged', 0, 'held', 0, 'holds', 0, 'rows', 0)
if ARGV[6] == 'master' then redis.call('HSET', KEYS[5], 'master', ARGV[1]) end
return 'ok'
