-- Notes at profiles of some shards since when they are as they are, and deletes those that have expired. What has changed
-- since it was read, or has a timer by now, is left alone.
-- KEYS: a key of each shard.   ARGV: of each shard its prefix and msgpack [[profile id, version, note, delete or not, after
-- which time of the outbox's entries (ms), topic, key, value, … of records for the outbox], …].
-- Answer: how many profiles were deleted.
local call, deleted = redis.call, 0

-- Whether records that the shard had at a time have all left its outbox.
local function has_drained(outbox, ms)
  local oldest = call('XRANGE', outbox, '-', '+', 'COUNT', 1)[1]
  return not oldest or tonumber(string.match(oldest[1], '^%d+')) > ms
end

for index = 1, #ARGV, 2 do
  local prefix = ARGV[index]
  for _, one in ipairs(cmsgpack.unpack(ARGV[index + 1])) do
    local id, version, note, delete, noted_ms = one[1], one[2], one[3], one[4], one[5]
    local key = prefix .. 'profile:' .. id
    if call('HGET', key, 'version') == version and not call('ZSCORE', prefix .. 'timers', id) then
      if not delete then
        call('HSET', key, 'idle', note)
      elseif has_drained(prefix .. 'outbox', noted_ms) then
        for place = 6, #one, 3 do
          call('XADD', prefix .. 'outbox', '*', 't', one[place], 'k', one[place + 1], 'v', one[place + 2])
        end
        call('DEL', key)
        call('ZADD', prefix .. 'profiles:changed', tonumber(version) + 1, id) -- its last snapshot says `gone`
        deleted = deleted + 1
      end
    end
  end
end
return deleted
