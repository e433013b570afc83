-- Store profiles, each in whole or not at all: nothing may have changed since they were read.
-- ARGV: prefix `{namespace}:`; msgpack of a list of
--   [id, expected version, document, [[loser, version], …], [event key, received_ms, …],
--    state | false, due_ms | false, [topic, key, value, …], [product, …]].
-- Answer: the ids of the profiles that are out of date and were not touched.
local prefix, changes = ARGV[1], cmsgpack.unpack(ARGV[2])
local call, sub, byte = redis.call, string.sub, string.byte
local timers, outbox = prefix .. 'timers', prefix .. 'outbox'
local unknown_origin = string.rep('\0', 8)
local WATCHERS = 10000       -- of one product: those who looked last
local WATCHED_S = 90 * 86400 -- a product that nobody looks at is forgotten
local conflicts = {}

local function version_of(profile_id)
  return tonumber(call('HGET', prefix .. 'profile:' .. profile_id, 'version') or 0)
end

-- The profile is live, and the losers that it is to absorb now are those that the document holds, in the same versions.
local function live_and_absorbs(profile_id, absorbed)
  local alias, key = prefix .. 'alias:' .. profile_id, prefix .. 'absorb:' .. profile_id
  if #absorbed == 0 then return call('EXISTS', alias, key) == 0 end
  if call('EXISTS', alias) == 1 or call('SCARD', key) ~= #absorbed then return false end
  for _, loser in ipairs(absorbed) do
    if call('SISMEMBER', key, loser[1]) == 0 or version_of(loser[1]) ~= loser[2] then return false end
  end
  return true
end

local function absorb(profile_id, absorbed)
  for _, loser in ipairs(absorbed) do
    call('ZREM', timers, loser[1])
    -- Its snapshots elsewhere are out of date too: the exporter says that it is gone.
    if call('DEL', prefix .. 'profile:' .. loser[1]) == 1 then
      call('ZADD', prefix .. 'profiles:changed', loser[2] + 1, loser[1])
    end
  end
  call('DEL', prefix .. 'absorb:' .. profile_id)
end

local function watch(product, profile_id, at)
  local key = prefix .. 'watch:' .. product
  call('ZADD', key, at, profile_id)
  call('ZREMRANGEBYRANK', key, 0, -WATCHERS - 1)
  call('EXPIRE', key, WATCHED_S)
end

for _, change in ipairs(changes) do
  local profile_id, version, document, absorbed, events = change[1], change[2], change[3], change[4], change[5]
  local current = version_of(profile_id) == version and live_and_absorbs(profile_id, absorbed)
  local marks, buckets = {}, {}
  for index = 1, #events, 2 do
    if not current then break end
    local value, bucket = seen_find(prefix, events[index], events[index + 1])
    current = not seen_applied(value)
    marks[index], buckets[index] = value, bucket
  end
  if current then
    local key, state, due, outgoing = prefix .. 'profile:' .. profile_id, change[6], change[7], change[8]
    if state and state ~= '' then
      call('HSET', key, 'version', version + 1, 'document', document, 'state', state)
    else
      call('HSET', key, 'version', version + 1, 'document', document)
      if state then call('HDEL', key, 'state') end
    end
    call('ZADD', prefix .. 'profiles:changed', version + 1, profile_id)
    if #absorbed > 0 then absorb(profile_id, absorbed) end
    for index = 1, #events, 2 do
      local event_key, value = events[index], marks[index]
      if value then
        call('HSET', buckets[index], sub(event_key, 3, 12), value .. '!')
      else
        seen_write(buckets[index], event_key, unknown_origin .. '!')
      end
    end
    if due == 0 then call('ZREM', timers, profile_id) elseif due then call('ZADD', timers, due, profile_id) end
    for index = 1, #outgoing, 3 do
      call('XADD', outbox, '*', 't', outgoing[index], 'k', outgoing[index + 1], 'v', outgoing[index + 2])
    end
    for _, product in ipairs(change[9]) do watch(product, profile_id, events[#events]) end
  else
    conflicts[#conflicts + 1] = profile_id
  end
end
return conflicts
