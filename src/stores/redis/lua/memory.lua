-- KEYS: meta.  What the server of these keys says about its memory.
return redis.call('INFO', 'memory')
