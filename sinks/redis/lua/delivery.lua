-- One step of the delivery ledger; see sinks/redis/delivery.py for the keys.
-- ARGV: prefix `{namespace}:`, step, then what the step needs. Times are milliseconds since 1970.
local prefix, step = ARGV[1], ARGV[2]
local due = prefix .. 'delivery:due'

local function entry(key) return prefix .. 'delivered:' .. key end

local function claim(key, said)
  local kept = redis.call('HMGET', entry(key), 'attempt', 'action', 'settlement')
  return {key, said, kept[1] or '0', kept[2] or '', kept[3] or ''}
end

if step == 'claim' then
  local key, action, now, lease, keep = ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
  local state = redis.call('HGET', entry(key), 'state')
  if state == 'settled' or state == 'told' then
    return {claim(key, state)}
  elseif state then
    return {claim(key, 'busy')}
  end
  redis.call('HSET', entry(key), 'state', 'claimed', 'attempt', 1, 'action', action)
  redis.call('PEXPIRE', entry(key), keep)
  redis.call('ZADD', due, now + lease, key)
  return {claim(key, 'claimed')}

elseif step == 'due' then
  local now, lease, count = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
  local found = {}
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, count)) do
    local state = redis.call('HGET', entry(key), 'state')
    local said = ({waiting = 'claimed', claimed = 'in_doubt', settled = 'settled'})[state or '']
    if said then
      if state == 'waiting' then
        redis.call('HSET', entry(key), 'state', 'claimed')
        redis.call('HINCRBY', entry(key), 'attempt', 1)
      end
      redis.call('ZADD', due, now + lease, key)
      found[#found + 1] = claim(key, said)
    else
      redis.call('ZREM', due, key)
    end
  end
  return found

elseif step == 'postpone' then
  local key, at = ARGV[3], ARGV[4]
  if redis.call('HGET', entry(key), 'state') == 'claimed' then
    redis.call('HSET', entry(key), 'state', 'waiting')
    redis.call('ZADD', due, at, key)
  end
  return {}

elseif step == 'settle' then
  local key, action, settlement, now, lease, keep = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
  redis.call('HSET', entry(key), 'state', 'settled', 'action', action, 'settlement', settlement)
  redis.call('PEXPIRE', entry(key), keep)
  redis.call('ZADD', due, now + lease, key)
  return {}

else -- told
  for n = 3, #ARGV do
    local key = ARGV[n]
    if redis.call('HGET', entry(key), 'state') == 'settled' then
      redis.call('HSET', entry(key), 'state', 'told')
      redis.call('HDEL', entry(key), 'action')
      redis.call('ZREM', due, key)
    end
  end
  return {}
end
