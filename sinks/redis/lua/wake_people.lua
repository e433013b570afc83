-- Makes people of some shards due at a time, unless they are due before.
-- KEYS: a key of each shard.   ARGV: the time, ms; of each shard its prefix and msgpack [profile id, …].
for index = 2, #ARGV, 2 do
  local timers = ARGV[index] .. 'timers'
  for _, profile_id in ipairs(cmsgpack.unpack(ARGV[index + 1])) do
    if redis.call('EXISTS', ARGV[index] .. 'gone:' .. profile_id) == 0 then
      redis.call('ZADD', timers, 'LT', ARGV[1], profile_id)
    end
  end
end
return 0
