-- Forgets that a journey holds runs, unless other definitions are in force than those by which its people were released.
-- KEYS: `held`, `definitions`.   ARGV: journey, number of the definitions.
if (redis.call('HGET', KEYS[2], 'number') or '0') == ARGV[2] then redis.call('SREM', KEYS[1], ARGV[1]) end
return 0
