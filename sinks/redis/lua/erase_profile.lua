-- Deletes a profile and those that it has yet to absorb, and lists them as changed: their last snapshot says `gone`.
-- ARGV: prefix `{namespace}:`, profile id. Answer: how many documents were deleted.
local prefix, profile_id, erased = ARGV[1], ARGV[2], 0
local absorb = prefix .. 'absorb:' .. profile_id
local profiles = redis.call('SMEMBERS', absorb)
profiles[#profiles + 1] = profile_id
for _, id in ipairs(profiles) do
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
