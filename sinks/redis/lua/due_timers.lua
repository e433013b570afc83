-- Lists people of some shards with a timer that is due. Writes nothing.
-- KEYS: the timers of each shard.   ARGV: the time, ms; how many at most in all.   Answer: [id, due time, …].
local found, left = {}, tonumber(ARGV[2])
for _, timers in ipairs(KEYS) do
  if left <= 0 then break end
  local due = redis.call('ZRANGE', timers, '-inf', ARGV[1], 'BYSCORE', 'LIMIT', 0, left, 'WITHSCORES')
  for _, part in ipairs(due) do found[#found + 1] = part end
  left = left - #due / 2
end
return found
