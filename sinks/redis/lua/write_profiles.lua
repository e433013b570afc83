-- Stores profiles, each in full or not at all: only if it has not changed since it was read.
-- ARGV: prefix `{namespace}:`; msgpack of columns, since a list for each profile costs more than what is in it:
--   [id, …], [expected version, …], [document, …], [count of its events, …], [event key, …], [received_ms, …] of all events
--   in that order, and by place in the lists what only few profiles have:
--   [[loser, version], …], state | false, due_ms | false, [topic, key, value, …], [product, …], [held journey, …];
--   number of the definitions by which they were decided, or ''.
-- Answer: ids of the profiles that have changed since they were read and were not written; all of them, where other
-- definitions are in force.
local prefix = ARGV[1]
local ids, versions, documents, counts, event_keys, received, rest = unpack(cmsgpack.unpack(ARGV[2]))
local call = redis.call
local timers, changed, outbox = prefix .. 'timers', prefix .. 'profiles:changed', prefix .. 'outbox'
local MAX_WATCHERS = 10000   -- of one product: the last to look at it
local WATCHED_S = 90 * 86400 -- since the last look at the product
local MAX_ARGUMENTS = 1000   -- arguments of one command: unpack() fails near 8,000
local GROUP = 25             -- profiles of one EXISTS
local conflicts = {}

if ARGV[3] ~= '' and (call('HGET', prefix .. 'definitions', 'number') or '0') ~= ARGV[3] then
  return ids
end

local function key_of(profile_id) return prefix .. 'profile:' .. profile_id end

local function version_of(profile_id) return tonumber(call('HGET', key_of(profile_id), 'version') or 0) end

-- One EXISTS per GROUP profiles: merges are rare. If it hits, check each profile of the group.
local merged, stored_at = {}, {}
for from = 1, #ids, GROUP do
  local keys = {}
  for index = from, math.min(from + GROUP - 1, #ids) do
    local profile_id = ids[index]
    stored_at[index] = key_of(profile_id)
    keys[#keys + 1], keys[#keys + 2] = prefix .. 'alias:' .. profile_id, prefix .. 'absorb:' .. profile_id
  end
  merged[math.ceil(from / GROUP)] = call('EXISTS', unpack(keys)) > 0
end
local marks, homes = seen_find(prefix, event_keys, received)
local applied, new_versions, rescheduled, unscheduled = {}, {}, {}, {}

-- Whether the profile is live, and has yet to absorb exactly the losers that the new document holds, in these versions.
local function live_and_absorbs(number, profile_id, absorbed)
  if not merged[math.ceil(number / GROUP)] then return #absorbed == 0 end
  local alias, absorb = prefix .. 'alias:' .. profile_id, prefix .. 'absorb:' .. profile_id
  if #absorbed == 0 then return call('EXISTS', alias, absorb) == 0 end
  if call('EXISTS', alias) == 1 or call('SCARD', absorb) ~= #absorbed then return false end
  for _, loser in ipairs(absorbed) do
    if call('SISMEMBER', absorb, loser[1]) == 0 or version_of(loser[1]) ~= loser[2] then return false end
  end
  return true
end

local function none_applied(from, to)
  for index = from, to do
    if seen_applied(marks[event_keys[index]]) then return false end
  end
  return true
end

local function list_change(profile_id, version)
  new_versions[#new_versions + 1], new_versions[#new_versions + 2] = version, profile_id
end

local function absorb(profile_id, absorbed)
  for _, loser in ipairs(absorbed) do
    unscheduled[#unscheduled + 1] = loser[1]
    -- Its last snapshot says that it is gone.
    if call('DEL', key_of(loser[1])) == 1 then list_change(loser[1], loser[2] + 1) end
  end
  call('DEL', prefix .. 'absorb:' .. profile_id)
end

local function watch(product, profile_id, at)
  local key = prefix .. 'watch:' .. product
  call('ZADD', key, at, profile_id)
  call('ZREMRANGEBYRANK', key, 0, -MAX_WATCHERS - 1)
  call('EXPIRE', key, WATCHED_S)
end

local function call_in_parts(command, key, arguments)
  for from = 1, #arguments, MAX_ARGUMENTS do
    call(command, key, unpack(arguments, from, math.min(from + MAX_ARGUMENTS - 1, #arguments)))
  end
end

-- First choose the profiles to write, and write the marks of their events: a document without its marks would be
-- written again by the next try.
local NOTHING, current, watched_at, to = {}, {}, {}, 0
for number, profile_id in ipairs(ids) do
  local from, more = to + 1, rest[number]
  to = to + counts[number]
  watched_at[number] = received[to]
  if tonumber(call('HGET', stored_at[number], 'version') or 0) == versions[number]
      and live_and_absorbs(number, profile_id, more and more[1] or NOTHING) and none_applied(from, to) then
    current[#current + 1] = number
    for index = from, to do
      local mark = seen_and_applied(marks[event_keys[index]])
      marks[event_keys[index]], applied[event_keys[index]] = mark, mark
    end
  else
    conflicts[#conflicts + 1] = profile_id
  end
end
seen_write(homes, applied)

local function write_more(number, profile_id, more)
  local absorbed, state, due, outgoing, watched, held = unpack(more)
  if state == '' then call('HDEL', stored_at[number], 'state') end
  if #absorbed > 0 then absorb(profile_id, absorbed) end
  if due == 0 then
    unscheduled[#unscheduled + 1] = profile_id
  elseif due then
    rescheduled[#rescheduled + 1], rescheduled[#rescheduled + 2] = due, profile_id
  end
  for index = 1, #outgoing, 3 do
    call('XADD', outbox, '*', 't', outgoing[index], 'k', outgoing[index + 1], 'v', outgoing[index + 2])
  end
  for _, product in ipairs(watched) do watch(product, profile_id, watched_at[number]) end
  for _, journey in ipairs(held) do
    call('SADD', prefix .. 'held', journey)
    call('SADD', prefix .. 'held:' .. journey, profile_id)
  end
end

for _, number in ipairs(current) do
  local profile_id, version, more = ids[number], versions[number] + 1, rest[number]
  local state = more and more[2]
  if state and state ~= '' then
    call('HSET', stored_at[number], 'version', version, 'document', documents[number], 'state', state)
  else
    call('HSET', stored_at[number], 'version', version, 'document', documents[number])
  end
  list_change(profile_id, version)
  if more then write_more(number, profile_id, more) end
end
call_in_parts('ZADD', changed, new_versions)
call_in_parts('ZREM', timers, unscheduled)
call_in_parts('ZADD', timers, rescheduled)
return conflicts
