-- Lists profiles that have changed since their last snapshot. Writes nothing.
-- ARGV: prefix `{namespace}:`, how many.   Answer: [[id, version, document | false, state | false], …].
local prefix, changed = ARGV[1], redis.call('ZRANGE', ARGV[1] .. 'profiles:changed', 0, ARGV[2] - 1, 'WITHSCORES')
local found = {}
for index = 1, #changed, 2 do
  local stored = redis.call('HMGET', prefix .. 'profile:' .. changed[index], 'version', 'document', 'state')
  -- A profile that was merged away or erased has its version in the list only.
  found[#found + 1] = {changed[index], tonumber(stored[1] or changed[index + 1]), stored[2], stored[3]}
end
return found
