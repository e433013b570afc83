-- Tells shards which definitions are in force: from now on, none older may decide there.
-- KEYS: a key of each shard.   ARGV: the number of the definitions; '1': also where a greater one is known; of each shard
-- its prefix.
for index = 3, #ARGV do
  local shard = ARGV[index] .. 'shard'
  local known = tonumber(redis.call('HGET', shard, 'definitions') or 0)
  if ARGV[2] == '1' or known < tonumber(ARGV[1]) then redis.call('HSET', shard, 'definitions', ARGV[1]) end
end
return 0
