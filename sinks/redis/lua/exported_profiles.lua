-- Removes profiles of some shards from the lists of changed ones, unless they have changed again.
-- KEYS: a key of each shard.   ARGV: of each shard its prefix and msgpack [[profile id, version], …].
-- Answer: how many were removed.
local done = 0
local MAX_ARGUMENTS = 1000 -- arguments of one command: unpack() fails near 8,000
for place = 1, #ARGV, 2 do
  local key, exported = ARGV[place] .. 'profiles:changed', cmsgpack.unpack(ARGV[place + 1])
  for from = 1, #exported, MAX_ARGUMENTS do
    local names, settled = {}, {}
    for index = from, math.min(from + MAX_ARGUMENTS - 1, #exported) do names[#names + 1] = exported[index][1] end
    for index, version in ipairs(redis.call('ZMSCORE', key, unpack(names))) do
      if version and tonumber(version) <= exported[from + index - 1][2] then settled[#settled + 1] = names[index] end
    end
    if #settled > 0 then done = done + redis.call('ZREM', key, unpack(settled)) end
  end
end
return done
