-- Marks of seen events: functions for the scripts that read or write them, put before those scripts.
-- `sinks/redis/deduplication.py` describes the layout and defines GENERATION_MS, BUCKETS and TTL_S.
--
-- One command for all marks of a hash: a command for each costs ten times as much as the mark itself.
local SEEN_MAX_FIELDS = 1000 -- fields of one command: unpack() fails near 8,000

local function seen_field(event_key) return string.sub(event_key, 3, 16) end

-- Whether the profile store has applied the event with this mark.
local function seen_applied(mark)
  return mark and #mark % 2 == 1
end

-- Find marks of releases that knew an event by its id alone: a former mark counts for every source. While workers of both
-- releases run, the later state of an event may be the former mark. What is written goes to a hash of the present layout.
local function seen_find_former(hash, group, marks)
  if redis.call('EXISTS', hash) == 0 then return end
  local former = {}
  for index, field in ipairs(group.fields) do former[index] = string.sub(field, 1, 10) end
  for index, mark in ipairs(redis.call('HMGET', hash, unpack(former))) do
    local known = marks[group.keys[index]]
    if mark and (not known or seen_applied(mark) and not seen_applied(known)) then marks[group.keys[index]] = mark end
  end
end

-- Find the marks of events by event key (absent: not seen), and the hash that holds each mark or is to hold it.
-- `keys` and `received` are lists, in the same order, of event keys and received_ms. If an event comes twice, in two
-- generations, its first received_ms chooses the hash.
local function seen_find(prefix, keys, received)
  local marks, homes, groups, open = {}, {}, {}, {}
  local byte, floor = string.byte, math.floor
  for index, key in ipairs(keys) do
    local generation = floor(received[index] / GENERATION_MS)
    local number = byte(key) % BUCKETS
    local id = generation * BUCKETS + number
    local group = open[id]
    if not group or group.n == SEEN_MAX_FIELDS then
      group = {fields = {}, keys = {}, n = 0, place = generation .. ':' .. number, before = generation - 1 .. ':' .. number}
      group.hash = prefix .. 'marks:' .. group.place
      open[id], groups[#groups + 1] = group, group
    end
    local n = group.n + 1
    group.n, group.fields[n], group.keys[n] = n, seen_field(key), key
    homes[key] = homes[key] or group.hash
  end
  local function look(hash, fields, keys)
    local missing, missing_keys = {}, {}
    for index, mark in ipairs(redis.call('HMGET', hash, unpack(fields))) do
      if mark then
        marks[keys[index]], homes[keys[index]] = mark, hash
      else
        missing[#missing + 1], missing_keys[#missing_keys + 1] = fields[index], keys[index]
      end
    end
    return missing, missing_keys
  end
  for _, group in ipairs(groups) do
    local missing, keys = look(group.hash, group.fields, group.keys)
    if #missing > 0 then look(prefix .. 'marks:' .. group.before, missing, keys) end
    seen_find_former(prefix .. 'seen:' .. group.place, group, marks)
    seen_find_former(prefix .. 'seen:' .. group.before, group, marks)
  end
  return marks, homes
end

-- Write marks (event key -> value) into the hashes that seen_find named.
local function seen_write(homes, marks)
  local by_hash = {}
  for key, value in pairs(marks) do
    local hash = homes[key]
    local pairs_ = by_hash[hash] or {}
    by_hash[hash] = pairs_
    pairs_[#pairs_ + 1], pairs_[#pairs_ + 2] = seen_field(key), value
  end
  for hash, pairs_ in pairs(by_hash) do
    local new = 0
    for from = 1, #pairs_, SEEN_MAX_FIELDS do
      new = new + redis.call('HSET', hash, unpack(pairs_, from, math.min(from + SEEN_MAX_FIELDS - 1, #pairs_)))
    end
    -- The first marks set the expiry: all marks of a hash are of one generation.
    if new > 0 and redis.call('HLEN', hash) == new then redis.call('EXPIRE', hash, TTL_S) end
  end
end

-- Whether the event with this mark, without `!`, is another one than the event that was marked before.
local function seen_conflict(mark, other)
  local content = string.sub(other, 9, 12)
  return #mark >= 12 and content ~= '\0\0\0\0' and string.sub(mark, 9, 12) ~= content
end

-- The mark of an applied event, from its former mark.
local function seen_and_applied(mark) return (mark or string.rep('\0', 8)) .. '!' end
