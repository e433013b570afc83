-- Replaces the stored profile by one that was rebuilt from history. Unlike a write, it may hold events that are applied
-- already; afterwards all of its events are marked as applied. Put after applied.lua.
-- KEYS: a key of the shard.   ARGV: prefix of the shard; msgpack [id, expected version, document, [loser, …],
--   former shards | false, [event key, …], [received_ms, …], state | false, due_ms | false,
--   [topic, key, value, … of records to publish]].
-- Answer: 1; 0 when the profile has changed since it was read, and nothing was written.
local prefix, change, call = ARGV[1], cmsgpack.unpack(ARGV[2]), redis.call
local profile_id, version, document, absorbed, former, keys, received, state, due, outgoing = unpack(change)
local key, timers = prefix .. 'profile:' .. profile_id, prefix .. 'timers'

if tonumber(call('HGET', key, 'version') or 0) ~= version then return 0 end
if call('EXISTS', prefix .. 'gone:' .. profile_id) == 1 then return 0 end

call('HSET', key, 'version', version + 1, 'document', document)
if state == '' then call('HDEL', key, 'state') elseif state then call('HSET', key, 'state', state) end
if former then call('HSET', key, 'former', former) end
call('ZADD', prefix .. 'profiles:changed', version + 1, profile_id)
for _, loser in ipairs(absorbed) do call('SADD', prefix .. 'absorbed:' .. profile_id, loser) end
applied_write(prefix, keys, received, 1, #keys)
if due == 0 then call('ZREM', timers, profile_id) elseif due then call('ZADD', timers, due, profile_id) end
for index = 1, #outgoing, 3 do
  call('XADD', prefix .. 'outbox', '*', 't', outgoing[index], 'k', outgoing[index + 1], 'v', outgoing[index + 2])
end
return 1
