-- Reads the oldest records of the outboxes of some shards. Writes nothing.
-- KEYS: the outbox of the first shard.   ARGV: msgpack [outbox of each shard, …]; from which of them to begin, 0 is the
-- first; how many records at most in all.
-- Answer: [[place of the outbox in the list, 0 is the first, [[id, [field, value, …]], …]], …] of those that have records.
local keys, first, found, left = cmsgpack.unpack(ARGV[1]), tonumber(ARGV[2]), {}, tonumber(ARGV[3])
for turn = 0, #keys - 1 do
  if left <= 0 then break end
  local place = (first + turn) % #keys
  if redis.call('XLEN', keys[place + 1]) > 0 then -- rarely: in half the time of a list that is empty
    local records = redis.call('XRANGE', keys[place + 1], '-', '+', 'COUNT', left)
    found[#found + 1] = {place, records}
    left = left - #records
  end
end
return found
