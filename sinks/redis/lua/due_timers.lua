-- Lists people of some shards with a timer that is due. Writes nothing.
-- KEYS: the timers of the first shard.   ARGV: msgpack [timers of each shard, …]; from which of them to begin, 0 is the
-- first; the time, ms; how many at most in all.   Answer: [id, due time, …].
local keys, first, found, left = cmsgpack.unpack(ARGV[1]), tonumber(ARGV[2]), {}, tonumber(ARGV[4])
for turn = 0, #keys - 1 do
  if left <= 0 then break end
  local timers = keys[(first + turn) % #keys + 1]
  if redis.call('ZCOUNT', timers, '-inf', ARGV[3]) > 0 then -- rarely: in half the time of a list that is empty
    local due = redis.call('ZRANGE', timers, '-inf', ARGV[3], 'BYSCORE', 'LIMIT', 0, left, 'WITHSCORES')
    for _, part in ipairs(due) do found[#found + 1] = part end
    left = left - #due / 2
  end
end
return found
