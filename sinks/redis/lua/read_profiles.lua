-- Reads profiles of some shards, and which events are applied there. Put after applied.lua. Writes nothing.
-- KEYS: a key of the first shard.
-- ARGV: msgpack [[prefix of each shard, …], [people of each shard, …], [profile id, …], [events of each shard, …],
-- [event key, …], [received_ms, …], whether profiles come with those that they have absorbed].
-- Answer: [version | false, document, state, former shards, absorbed ids, … of each profile]; '0' or '1' for each event. A
-- profile whose version is false was merged away or erased.
local call, GROUP = redis.call, 25
local prefixes, people, ids, events, keys, received, with_absorbed = unpack(cmsgpack.unpack(ARGV[1]))
local profiles, applied, last, first_person, first_event = {}, {}, 0, 1, 1

for shard, prefix in ipairs(prefixes) do
  local last_person, last_event = first_person + people[shard] - 1, first_event + events[shard] - 1
  for from = first_person, last_person, GROUP do
    local fences, to = {}, math.min(from + GROUP - 1, last_person)
    for index = from, to do fences[#fences + 1] = prefix .. 'gone:' .. ids[index] end
    local any_gone = call('EXISTS', unpack(fences)) > 0
    for index = from, to do
      if any_gone and call('EXISTS', prefix .. 'gone:' .. ids[index]) == 1 then
        profiles[last + 1], profiles[last + 2], profiles[last + 3] = false, false, false
        profiles[last + 4], profiles[last + 5] = false, false
      else
        local found = call('HMGET', prefix .. 'profile:' .. ids[index], 'version', 'document', 'state', 'former')
        profiles[last + 1], profiles[last + 2], profiles[last + 3] = found[1] or '0', found[2], found[3]
        profiles[last + 4] = found[4]
        profiles[last + 5] = with_absorbed and call('SMEMBERS', prefix .. 'absorbed:' .. ids[index])
      end
      last = last + 5
    end
  end
  if last_event >= first_event then
    local found = {}
    applied_find(found, prefix, keys, received, first_event, last_event)
    for index = first_event, last_event do applied[index] = found[keys[index]] and '1' or '0' end
  end
  first_person, first_event = last_person + 1, last_event + 1
end
return {profiles, table.concat(applied)}
