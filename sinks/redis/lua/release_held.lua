-- Makes the people whose runs a pause has held due at once.
-- KEYS: `timers`. ARGV: prefix `{namespace}:`, journey, the time in ms, the most people of one call.
-- Answer: how many were held.
local prefix, journey, now, count = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local held, MAX_HOPS = prefix .. 'held:' .. journey, 10000
local found = redis.call('SPOP', held, count)
for _, profile_id in ipairs(found) do
  local live, hops = profile_id, 0
  local alias = redis.call('GET', prefix .. 'alias:' .. live)
  while alias and alias ~= '!' and hops < MAX_HOPS do
    live, hops = alias, hops + 1
    alias = redis.call('GET', prefix .. 'alias:' .. live)
  end
  if not alias then
    local due = tonumber(redis.call('ZSCORE', KEYS[1], live) or now)
    redis.call('ZADD', KEYS[1], math.min(due, now), live)
  end
end
if redis.call('SCARD', held) == 0 then redis.call('SREM', prefix .. 'held', journey) end
return #found
