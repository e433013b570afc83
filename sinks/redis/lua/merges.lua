-- Finds which of some people were merged away or erased, or have yet to absorb others. Writes nothing.
-- KEYS: a key that names the slot.   ARGV: prefix `{namespace}:`; msgpack [profile id, …].
-- Answer: [[position from 1, live id or '!', [profile to absorb, …]], …] of those alone.
local prefix, ids = ARGV[1], cmsgpack.unpack(ARGV[2])
local GROUP = 25 -- people of one EXISTS: merges are rare
local MAX_HOPS = 10000
local call, found = redis.call, {}

local function look(position, profile_id)
  local live, hops = profile_id, 0
  local onward = call('GET', prefix .. 'alias:' .. live)
  while onward do
    live, hops = onward, hops + 1
    if hops > MAX_HOPS then error('alias of ' .. profile_id .. ' goes in a circle') end
    onward = live ~= '!' and call('GET', prefix .. 'alias:' .. live)
  end
  local absorb = live == '!' and {} or call('SMEMBERS', prefix .. 'absorb:' .. live)
  if live ~= profile_id or #absorb > 0 then found[#found + 1] = {position, live, absorb} end
end

for from = 1, #ids, GROUP do
  local keys, to = {}, math.min(from + GROUP - 1, #ids)
  for index = from, to do
    keys[#keys + 1], keys[#keys + 2] = prefix .. 'alias:' .. ids[index], prefix .. 'absorb:' .. ids[index]
  end
  if call('EXISTS', unpack(keys)) > 0 then
    for index = from, to do look(index, ids[index]) end
  end
end
return found
