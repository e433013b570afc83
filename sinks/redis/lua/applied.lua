-- Marks of the events that the profiles of a shard hold: functions for the scripts that read or write them, put before
-- those scripts. `sinks/redis/deduplication.py` describes the layout and defines GENERATION_MS and TTL_S.
--
-- One command for all marks of a set: a command for each costs ten times as much as the mark itself.
local MARKS_A_COMMAND = 1000 -- unpack() fails near 8,000

-- Group the events from `first` to `last` of two lists by the set of their marks: set -> {field, …}, set -> {key, …}.
local function applied_sets(prefix, keys, received, first, last)
  local sets, names = {}, {}
  for index = first, last do
    local set = prefix .. 'applied:' .. math.floor(received[index] / GENERATION_MS)
    local fields, theirs = sets[set], names[set]
    if not fields then
      fields, theirs = {}, {}
      sets[set], names[set] = fields, theirs
    end
    local place = #fields + 1
    fields[place], theirs[place] = string.sub(keys[index], 3, 16), keys[index]
  end
  return sets, names
end

-- Add those of the events that are applied to `found`: event key -> true.
local function applied_find(found, prefix, keys, received, first, last)
  local sets, names = applied_sets(prefix, keys, received, first, last)
  for set, fields in pairs(sets) do
    for from = 1, #fields, MARKS_A_COMMAND do
      local to = math.min(from + MARKS_A_COMMAND - 1, #fields)
      for index, known in ipairs(redis.call('SMISMEMBER', set, unpack(fields, from, to))) do
        if known == 1 then found[names[set][from + index - 1]] = true end
      end
    end
  end
end

-- Mark events as applied.
local function applied_write(prefix, keys, received, first, last)
  for set, fields in pairs(applied_sets(prefix, keys, received, first, last)) do
    local new = 0
    for from = 1, #fields, MARKS_A_COMMAND do
      new = new + redis.call('SADD', set, unpack(fields, from, math.min(from + MARKS_A_COMMAND - 1, #fields)))
    end
    -- The first marks set the expiry: all marks of a set are of one generation.
    if new > 0 and redis.call('SCARD', set) == new then redis.call('EXPIRE', set, TTL_S) end
  end
end
