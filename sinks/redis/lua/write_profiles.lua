-- Store profiles, each in whole or not at all: nothing may have changed since they were read.
-- ARGV: prefix `{namespace}:`; msgpack of a list of
--   [id, expected version, document, [[loser, version], …], [event key, received_ms, …],
--    state | false, due_ms | false, [topic, key, value, …], [product, …]].
-- Answer: the ids of the profiles that are out of date and were not touched.
local prefix, changes = ARGV[1], cmsgpack.unpack(ARGV[2])
local call = redis.call
local timers, changed, outbox = prefix .. 'timers', prefix .. 'profiles:changed', prefix .. 'outbox'
local WATCHERS = 10000       -- of one product: those who looked last
local WATCHED_S = 90 * 86400 -- a product that nobody looks at is forgotten
local AT_ONCE = 1000         -- arguments of one command: unpack() fails near 8,000
local GROUP = 25             -- people of whom one command tells whether any was merged
local conflicts = {}

local function key_of(profile_id) return prefix .. 'profile:' .. profile_id end

local function version_of(profile_id) return tonumber(call('HGET', key_of(profile_id), 'version') or 0) end

-- What may be said of many at once, which costs a command and not one for each. Of nearly nobody is there a merge to
-- know of; where there is one, the others of its group are asked about one by one.
local merged, events = {}, {}
for from = 1, #changes, GROUP do
  local group, asked = math.ceil(from / GROUP), {}
  for index = from, math.min(from + GROUP - 1, #changes) do
    local profile_id, its = changes[index][1], changes[index][5]
    asked[#asked + 1], asked[#asked + 2] = prefix .. 'alias:' .. profile_id, prefix .. 'absorb:' .. profile_id
    for at = 1, #its do events[#events + 1] = its[at] end
  end
  merged[group] = call('EXISTS', unpack(asked)) > 0
end
local marks, homes = seen_find(prefix, events)
local applied, anew, rescheduled, unscheduled = {}, {}, {}, {}

-- The profile is live, and the losers that it is to absorb now are those that the document holds, in the same versions.
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

local function none_applied(some)
  for index = 1, #some, 2 do
    if seen_applied(marks[some[index]]) then return false end
  end
  return true
end

local function note_change(profile_id, version) anew[#anew + 1], anew[#anew + 2] = version, profile_id end

local function absorb(profile_id, absorbed)
  for _, loser in ipairs(absorbed) do
    unscheduled[#unscheduled + 1] = loser[1]
    -- Its snapshots elsewhere are out of date too: the exporter says that it is gone.
    if call('DEL', key_of(loser[1])) == 1 then note_change(loser[1], loser[2] + 1) end
  end
  call('DEL', prefix .. 'absorb:' .. profile_id)
end

local function watch(product, profile_id, at)
  local key = prefix .. 'watch:' .. product
  call('ZADD', key, at, profile_id)
  call('ZREMRANGEBYRANK', key, 0, -WATCHERS - 1)
  call('EXPIRE', key, WATCHED_S)
end

local function all(command, key, arguments)
  for from = 1, #arguments, AT_ONCE do
    call(command, key, unpack(arguments, from, math.min(from + AT_ONCE - 1, #arguments)))
  end
end

-- First it is decided what is written, with the marks of its events; a document without them would be written again.
local current = {}
for number, change in ipairs(changes) do
  local profile_id, version, absorbed, its = change[1], change[2], change[4], change[5]
  if version_of(profile_id) == version and live_and_absorbs(number, profile_id, absorbed) and none_applied(its) then
    current[#current + 1] = change
    for index = 1, #its, 2 do
      local mark = seen_and_applied(marks[its[index]])
      marks[its[index]], applied[its[index]] = mark, mark
    end
  else
    conflicts[#conflicts + 1] = profile_id
  end
end
seen_write(homes, applied)

for _, change in ipairs(current) do
  local profile_id, version, document, absorbed, its = change[1], change[2], change[3], change[4], change[5]
  local key, state, due, outgoing = key_of(profile_id), change[6], change[7], change[8]
  if state and state ~= '' then
    call('HSET', key, 'version', version + 1, 'document', document, 'state', state)
  else
    call('HSET', key, 'version', version + 1, 'document', document)
    if state then call('HDEL', key, 'state') end
  end
  note_change(profile_id, version + 1)
  if #absorbed > 0 then absorb(profile_id, absorbed) end
  if due == 0 then
    unscheduled[#unscheduled + 1] = profile_id
  elseif due then
    rescheduled[#rescheduled + 1], rescheduled[#rescheduled + 2] = due, profile_id
  end
  for index = 1, #outgoing, 3 do
    call('XADD', outbox, '*', 't', outgoing[index], 'k', outgoing[index + 1], 'v', outgoing[index + 2])
  end
  for _, product in ipairs(change[9]) do watch(product, profile_id, its[#its]) end
end
all('ZADD', changed, anew)
all('ZREM', timers, unscheduled)
all('ZADD', timers, rescheduled)
return conflicts
