-- Finds profiles of some shards that may not have been seen for long. A document that is JSON is read as text, so that it
-- need not be sent; one that is deflated is small. Writes nothing.
-- KEYS: a key of each shard.   ARGV: the time (ms) before which a profile was seen last; of each shard its prefix and msgpack
-- [profile id, …].
-- Answer: [id, version, document, state | false, note | false, '1' if something waits for the person | '0', …].
local call, before, found = redis.call, tonumber(ARGV[1]), {}

-- Whether something waits, of a profile that was noted before: a timer, a snapshot that is to be made, a merge.
local function waits(prefix, id)
  return call('ZSCORE', prefix .. 'timers', id) or call('ZSCORE', prefix .. 'profiles:changed', id)
    or call('EXISTS', prefix .. 'absorbed:' .. id, prefix .. 'gone:' .. id) > 0
end

for index = 2, #ARGV, 2 do
  local prefix = ARGV[index]
  for _, id in ipairs(cmsgpack.unpack(ARGV[index + 1])) do
    local stored = call('HMGET', prefix .. 'profile:' .. id, 'version', 'document', 'state', 'idle')
    local seen = stored[2] and tonumber(string.byte(stored[2]) == 123 and string.match(stored[2], '"last_seen":(%d+)') or 0)
    if seen and seen < before then
      local last = #found
      found[last + 1], found[last + 2], found[last + 3] = id, stored[1], stored[2]
      found[last + 4], found[last + 5], found[last + 6] = stored[3], stored[4], stored[4] and waits(prefix, id) and '1' or '0'
    end
  end
end
return found
