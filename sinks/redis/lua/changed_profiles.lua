-- Lists profiles of some shards that have changed since their last snapshot. Writes nothing.
-- KEYS: a key of each shard.   ARGV: how many at most in all; of each shard its prefix.
-- Answer: [[id, version, document | false, state | false], …].
local found, left = {}, tonumber(ARGV[1])
for place = 2, #ARGV do
  local prefix = ARGV[place]
  local changed = left > 0 and redis.call('ZRANGE', prefix .. 'profiles:changed', 0, left - 1, 'WITHSCORES') or {}
  for index = 1, #changed, 2 do
    local stored = redis.call('HMGET', prefix .. 'profile:' .. changed[index], 'version', 'document', 'state')
    -- A profile that was merged away or erased has its version in the list only.
    found[#found + 1] = {changed[index], tonumber(stored[1] or changed[index + 1]), stored[2], stored[3]}
  end
  left = left - #changed / 2
end
return found
