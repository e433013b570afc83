-- Ends writes of profiles that were merged away, and reads them: what is read stays as it is until it is dropped.
-- KEYS: a key of each shard.   ARGV: of each shard its prefix and msgpack [profile id, …].
-- Answer, of each shard: [version, document, state, former shards, absorbed ids, … of each profile].
local call, answers = redis.call, {}

for index = 1, #ARGV, 2 do
  local prefix, found = ARGV[index], {}
  for _, profile_id in ipairs(cmsgpack.unpack(ARGV[index + 1])) do
    local stored = call('HMGET', prefix .. 'profile:' .. profile_id, 'version', 'document', 'state', 'former')
    call('SET', prefix .. 'gone:' .. profile_id, stored[1] or '0', 'NX')
    local last = #found
    found[last + 1], found[last + 2], found[last + 3] = stored[1] or '0', stored[2], stored[3]
    found[last + 4], found[last + 5] = stored[4], call('SMEMBERS', prefix .. 'absorbed:' .. profile_id)
  end
  answers[#answers + 1] = found
end
return answers
