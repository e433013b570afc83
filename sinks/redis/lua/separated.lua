-- Finds the profiles that a split separated from another one, or that have merged with such a profile. Put after
-- identity.lua. Writes nothing.
-- ARGV 3: id of that one, then ids of the others (16 bytes each), MessagePack.   Answers positions of others, from 1.
local ids, separated = cmsgpack.unpack(ARGV[3]), {}

local function separations_of(id)
  local p = profile(id)
  return call('EXISTS', p.key) == 1 and load_summary(p).separations or {} -- it may have been merged away just now
end

local sides = separations_of(ids[1])
for position = 2, #ids do
  for token, side in pairs(separations_of(ids[position])) do
    if (sides[token] or side) ~= side then
      separated[#separated + 1] = position - 1
      break
    end
  end
end
return separated
