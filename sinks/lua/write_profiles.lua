-- Store profiles, each in whole or not at all: nothing may have changed since they were read.
-- ARGV: prefix `{namespace}:`; msgpack [[id, expected version, document, [[loser, version], …], [[event key, received_ms], …]], …].
-- Answer: the ids of the profiles that are out of date and were not touched.
local prefix, changes = ARGV[1], cmsgpack.unpack(ARGV[2])
local unknown_origin = string.rep('\0', 8)
local conflicts = {}

local function version_of(profile_id)
  return tonumber(redis.call('HGET', prefix .. 'profile:' .. profile_id, 'version') or 0)
end

-- The profile is live, and the losers that it is to absorb now are those that the document holds, in the same versions.
local function live_and_absorbs(profile_id, absorbed)
  local alias, key = prefix .. 'alias:' .. profile_id, prefix .. 'absorb:' .. profile_id
  if #absorbed == 0 then return redis.call('EXISTS', alias, key) == 0 end
  if redis.call('EXISTS', alias) == 1 or redis.call('SCARD', key) ~= #absorbed then return false end
  for _, loser in ipairs(absorbed) do
    if redis.call('SISMEMBER', key, loser[1]) == 0 or version_of(loser[1]) ~= loser[2] then return false end
  end
  return true
end

for _, change in ipairs(changes) do
  local profile_id, version, document, absorbed, events = unpack(change)
  local current = version_of(profile_id) == version and live_and_absorbs(profile_id, absorbed)
  local marks = {}
  for index, event in ipairs(events) do
    if not current then break end
    local value, bucket = seen_find(prefix, event[1], event[2])
    current = not seen_applied(value)
    marks[index] = {bucket, value}
  end
  if current then
    redis.call('HSET', prefix .. 'profile:' .. profile_id, 'version', version + 1, 'document', document)
    redis.call('ZADD', prefix .. 'profiles:changed', version + 1, profile_id)
    for _, loser in ipairs(absorbed) do
      -- Its snapshots elsewhere are out of date too: the exporter says that it is gone.
      if redis.call('DEL', prefix .. 'profile:' .. loser[1]) == 1 then
        redis.call('ZADD', prefix .. 'profiles:changed', loser[2] + 1, loser[1])
      end
    end
    if #absorbed > 0 then redis.call('DEL', prefix .. 'absorb:' .. profile_id) end
    for index, event in ipairs(events) do
      local bucket, value = marks[index][1], marks[index][2]
      if value then
        redis.call('HSET', bucket, string.sub(event[1], 3, 12), value .. '!')
      else
        seen_write(bucket, event[1], unknown_origin .. '!')
      end
    end
  else
    conflicts[#conflicts + 1] = profile_id
  end
end
return conflicts
