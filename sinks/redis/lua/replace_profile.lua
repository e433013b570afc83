-- Replaces the stored profile by one that was rebuilt from history. Unlike a write, it may hold events that are applied
-- already; afterwards all of its events are marked as applied.
-- ARGV: prefix `{namespace}:`; msgpack [id, expected version, document, [[loser, version], …],
--   [event key, …], [received_ms, …], state | false, due_ms | false, [topic, key, value, … of records to publish]].
-- Answer: 1; 0 when the profile has changed since it was read, and nothing was written.
local prefix, change = ARGV[1], cmsgpack.unpack(ARGV[2])
local profile_id, version, document, absorbed, keys, received, state, due, outgoing = unpack(change)
local key, absorb = prefix .. 'profile:' .. profile_id, prefix .. 'absorb:' .. profile_id
local timers, changed = prefix .. 'timers', prefix .. 'profiles:changed'

local function version_of(id) return tonumber(redis.call('HGET', prefix .. 'profile:' .. id, 'version') or 0) end

if version_of(profile_id) ~= version or redis.call('EXISTS', prefix .. 'alias:' .. profile_id) == 1 then return 0 end
if redis.call('SCARD', absorb) ~= #absorbed then return 0 end
for _, loser in ipairs(absorbed) do
  if redis.call('SISMEMBER', absorb, loser[1]) == 0 or version_of(loser[1]) ~= loser[2] then return 0 end
end

redis.call('HSET', key, 'version', version + 1, 'document', document)
if state == '' then redis.call('HDEL', key, 'state') elseif state then redis.call('HSET', key, 'state', state) end
redis.call('ZADD', changed, version + 1, profile_id)
for _, loser in ipairs(absorbed) do
  redis.call('ZREM', timers, loser[1])
  if redis.call('DEL', prefix .. 'profile:' .. loser[1]) == 1 then
    redis.call('ZADD', changed, loser[2] + 1, loser[1])
  end
end
redis.call('DEL', absorb)
local marks, homes = seen_find(prefix, keys, received)
local new_marks = {}
for _, event_key in ipairs(keys) do
  if not seen_applied(marks[event_key]) then new_marks[event_key] = seen_and_applied(marks[event_key]) end
end
seen_write(homes, new_marks)
if due == 0 then redis.call('ZREM', timers, profile_id) elseif due then redis.call('ZADD', timers, due, profile_id) end
for index = 1, #outgoing, 3 do
  redis.call('XADD', prefix .. 'outbox', '*', 't', outgoing[index], 'k', outgoing[index + 1], 'v', outgoing[index + 2])
end
return 1
