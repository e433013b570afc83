-- Which profiles were taken apart from another one, or are merged with what was. Put after identity.lua. Writes nothing.
-- ARGV 3: ids of that one and of the others (16 bytes each), MessagePack.   Answers the positions of those, from 1.
local ids, apart = cmsgpack.unpack(ARGV[3]), {}

local function sides_of(id)
  local p = profile(id)
  return call('EXISTS', p.key) == 1 and weigh(p).tokens or {} -- it may have been merged away just now
end

local sides = sides_of(ids[1])
for position = 2, #ids do
  for token, side in pairs(sides_of(ids[position])) do
    if (sides[token] or side) ~= side then
      apart[#apart + 1] = position - 1
      break
    end
  end
end
return apart
