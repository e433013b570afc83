-- Take profiles off the list of changed ones, unless they have changed again.
-- ARGV: prefix `{namespace}:`; msgpack [[profile id, version], …]. Answer: how many are off the list.
local key, done = ARGV[1] .. 'profiles:changed', 0
for _, exported in ipairs(cmsgpack.unpack(ARGV[2])) do
  local version = redis.call('ZSCORE', key, exported[1])
  if version and tonumber(version) <= exported[2] then done = done + redis.call('ZREM', key, exported[1]) end
end
return done
