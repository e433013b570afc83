-- Stores profiles of some shards, each in full or not at all: only if it has not changed since it was read. Put after
-- applied.lua.
-- KEYS: a key of the first shard.
-- ARGV: number of the definitions by which they were decided, or ''; '1': refuse a shard that has lost its people; msgpack
-- of columns, since a list for each profile costs more than what is in it:
--   [[prefix of each shard, …], [profiles of each shard, …], [id, …], [expected version, …], [document, …],
--   [count of its events, …], [event key, …], [received_ms, …] of all events in that order, and by place in the lists what
--   only few profiles have:
--   [[loser, …], former shards | false, state | false, due_ms | false, [topic, key, value, …], [held journey, …]]].
-- Answer: ids of the profiles that have changed since they were read and were not written; all of a shard in which newer
-- definitions have decided.
local call = redis.call
local number, guarded, conflicts = tonumber(ARGV[1]), ARGV[2] == '1', {}
local prefixes, people, ids, versions, documents, counts, event_keys, received, rest = unpack(cmsgpack.unpack(ARGV[3]))
local MAX_ARGUMENTS = 1000   -- arguments of one command: unpack() fails near 8,000
local GROUP = 25             -- profiles of one EXISTS

local function call_in_parts(command, key, arguments)
  for from = 1, #arguments, MAX_ARGUMENTS do
    call(command, key, unpack(arguments, from, math.min(from + MAX_ARGUMENTS - 1, #arguments)))
  end
end

-- Whether definitions may decide in a shard: none newer have. From now on, older ones may not.
local function is_in_force(prefix, newest)
  if not number then return true end
  if newest and tonumber(newest) > number then return false end
  if not newest or tonumber(newest) < number then call('HSET', prefix .. 'shard', 'definitions', ARGV[1]) end
  return true
end

local stored_at, applied, rescheduled, unscheduled = {}, {}, {}, {}

local function write_more(prefix, place, more)
  local absorbed, former, state, due, outgoing, held = unpack(more)
  local profile_id = ids[place]
  if state == '' then call('HDEL', stored_at[place], 'state') end
  if former then call('HSET', stored_at[place], 'former', former) end
  if #absorbed > 0 then call_in_parts('SADD', prefix .. 'absorbed:' .. profile_id, absorbed) end
  if due == 0 then
    unscheduled[#unscheduled + 1] = profile_id
  elseif due then
    rescheduled[#rescheduled + 1], rescheduled[#rescheduled + 2] = due, profile_id
  end
  for index = 1, #outgoing, 3 do
    call('XADD', prefix .. 'outbox', '*', 't', outgoing[index], 'k', outgoing[index + 1], 'v', outgoing[index + 2])
  end
  for _, journey in ipairs(held) do call('SADD', prefix .. 'held:' .. journey, profile_id) end
end

local function is_current(place, fence, from, to)
  if tonumber(call('HGET', stored_at[place], 'version') or 0) ~= versions[place] then return false end
  if fence and call('EXISTS', fence) == 1 then return false end
  for index = from, to do
    if applied[event_keys[index]] then return false end
  end
  return true
end

-- Write the profiles from `first` to `last`, which are of one shard; their events are from `from` to `to`.
local function write(prefix, first, last, from, to)
  local any_gone, new_versions, new_keys, new_received, current = {}, {}, {}, {}, {}
  for start = first, last, GROUP do
    local fences, stop = {}, math.min(start + GROUP - 1, last)
    for place = start, stop do
      stored_at[place] = prefix .. 'profile:' .. ids[place]
      fences[#fences + 1] = prefix .. 'gone:' .. ids[place]
    end
    local found = call('EXISTS', unpack(fences)) > 0
    for place = start, stop do any_gone[place] = found and prefix .. 'gone:' .. ids[place] end
  end
  applied_find(applied, prefix, event_keys, received, from, to)

  -- First choose the profiles to write, and write the marks of their events: a document without its marks would be
  -- written again by the next try.
  for place = first, last do
    local following = from + counts[place]
    if is_current(place, any_gone[place], from, following - 1) then
      current[#current + 1] = place
      for index = from, following - 1 do
        local key = event_keys[index]
        new_keys[#new_keys + 1], new_received[#new_received + 1], applied[key] = key, received[index], true
      end
    else
      conflicts[#conflicts + 1] = ids[place]
    end
    from = following
  end
  applied_write(prefix, new_keys, new_received, 1, #new_keys)

  for _, place in ipairs(current) do
    local version, more = versions[place] + 1, rest[place]
    local state = more and more[3]
    if state and state ~= '' then
      call('HSET', stored_at[place], 'version', version, 'document', documents[place], 'state', state)
    else
      call('HSET', stored_at[place], 'version', version, 'document', documents[place])
    end
    new_versions[#new_versions + 1], new_versions[#new_versions + 2] = version, ids[place]
    if more then write_more(prefix, place, more) end
  end
  call_in_parts('ZADD', prefix .. 'profiles:changed', new_versions)
  if #unscheduled > 0 then call_in_parts('ZREM', prefix .. 'timers', unscheduled) end
  if #rescheduled > 0 then call_in_parts('ZADD', prefix .. 'timers', rescheduled) end
  unscheduled, rescheduled = {}, {}
end

local newest = {}
for shard, prefix in ipairs(prefixes) do
  local known = call('HMGET', prefix .. 'shard', 'people', 'definitions')
  if guarded and not known[1] then return redis.error_reply('LOSTPEOPLE ' .. prefix) end
  newest[shard] = known[2]
end
local first, from = 1, 1
for shard, prefix in ipairs(prefixes) do
  local last, to = first + people[shard] - 1, from - 1
  for place = first, last do to = to + counts[place] end
  if is_in_force(prefix, newest[shard]) then
    write(prefix, first, last, from, to)
  else
    for place = first, last do conflicts[#conflicts + 1] = ids[place] end
  end
  first, from = last + 1, to + 1
end
return conflicts
