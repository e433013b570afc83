-- Reads the oldest records of the outboxes of some shards. Writes nothing.
-- KEYS: the outbox of each shard.   ARGV: how many records at most in all.
-- Answer: [[position of the outbox from 1, [[id, [field, value, …]], …]], …] of those that have records.
local found, left = {}, tonumber(ARGV[1])
for position, outbox in ipairs(KEYS) do
  if left <= 0 then break end
  local records = redis.call('XRANGE', outbox, '-', '+', 'COUNT', left)
  if #records > 0 then found[#found + 1] = {position, records} end
  left = left - #records
end
return found
