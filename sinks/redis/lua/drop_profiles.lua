-- Deletes profiles of some shards that another profile has absorbed, or that are erased, with their timers. Nothing can be
-- written under their ids any more, and they are listed as changed: their last snapshot says `gone`.
-- KEYS: a key of each shard.   ARGV: life of the fence, seconds; of each shard its prefix and msgpack [profile id, …].
-- Answer: how many documents were deleted.
local call, kept_s, dropped = redis.call, ARGV[1], 0

for index = 2, #ARGV, 2 do
  local prefix = ARGV[index]
  for _, profile_id in ipairs(cmsgpack.unpack(ARGV[index + 1])) do
    local key = prefix .. 'profile:' .. profile_id
    local version = call('HGET', key, 'version')
    call('ZREM', prefix .. 'timers', profile_id)
    call('SET', prefix .. 'gone:' .. profile_id, version or '0', 'NX')
    call('EXPIRE', prefix .. 'gone:' .. profile_id, kept_s)
    -- Who is about to absorb this profile, and has not read it yet, must see whom it has absorbed.
    call('EXPIRE', prefix .. 'absorbed:' .. profile_id, kept_s)
    if version then
      call('DEL', key)
      call('ZADD', prefix .. 'profiles:changed', tonumber(version) + 1, profile_id)
      dropped = dropped + 1
    end
  end
end
return dropped
