-- Delete a profile and those that it was still to absorb; the exporter says that they are gone.
-- ARGV: prefix `{namespace}:`, profile id. Answer: how many documents were deleted.
local prefix, profile_id, erased = ARGV[1], ARGV[2], 0
local absorb = prefix .. 'absorb:' .. profile_id
local doomed = redis.call('SMEMBERS', absorb)
doomed[#doomed + 1] = profile_id
for _, id in ipairs(doomed) do
  redis.call('ZREM', prefix .. 'timers', id)
  local key = prefix .. 'profile:' .. id
  local version = redis.call('HGET', key, 'version')
  if version then
    redis.call('DEL', key)
    redis.call('ZADD', prefix .. 'profiles:changed', tonumber(version) + 1, id)
    erased = erased + 1
  end
end
redis.call('DEL', absorb)
return erased
