-- One step of the delivery ledger: claim, due, postpone, hold, settle, acknowledge or forget. sinks/redis/delivery.py
-- describes the keys. The answer is a list of {key, state, attempt, action, settlement}.
-- ARGV: prefix `{namespace}:`, step, then what the step needs. Times are milliseconds since 1970.
local prefix, step = ARGV[1], ARGV[2]
local due = prefix .. 'delivery:due'

local function entry(key) return prefix .. 'delivered:' .. key end

local function claim(key, state)
  local stored = redis.call('HMGET', entry(key), 'attempt', 'action', 'settlement')
  return {key, state, stored[1] or '0', stored[2] or '', stored[3] or ''}
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
    local claimed = ({waiting = 'claimed', claimed = 'in_doubt', settled = 'settled'})[state or '']
    if claimed then
      if state == 'waiting' then
        redis.call('HSET', entry(key), 'state', 'claimed')
        redis.call('HINCRBY', entry(key), 'attempt', 1)
      end
      redis.call('ZADD', due, now + lease, key)
      found[#found + 1] = claim(key, claimed)
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

elseif step == 'hold' then
  local key, at = ARGV[3], ARGV[4]
  if redis.call('HGET', entry(key), 'state') == 'claimed' then
    redis.call('HSET', entry(key), 'state', 'waiting')
    redis.call('HINCRBY', entry(key), 'attempt', -1) -- which `due` counts again
    redis.call('ZADD', due, at, key)
  end
  return {}

elseif step == 'settle' then
  local key, action, settlement = ARGV[3], ARGV[4], ARGV[5]
  local now, lease, keep = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
  if redis.call('HGET', entry(key), 'state') == 'told' then return {claim(key, 'told')} end -- its person was erased
  redis.call('HSET', entry(key), 'state', 'settled', 'action', action, 'settlement', settlement)
  redis.call('PEXPIRE', entry(key), keep)
  redis.call('ZADD', due, now + lease, key)
  return {}

elseif step == 'forget' then
  for n = 3, #ARGV do
    if redis.call('HDEL', entry(ARGV[n]), 'action', 'settlement') > 0 then
      redis.call('HSET', entry(ARGV[n]), 'state', 'told')
    end
    redis.call('ZREM', due, ARGV[n])
  end
  return {}

else -- acknowledge
  for n = 3, #ARGV do
    local key = ARGV[n]
    local state = redis.call('HGET', entry(key), 'state')
    if state == 'settled' or state == 'claimed' then -- claimed: it was published as it is, without a receipt
      redis.call('HSET', entry(key), 'state', 'told')
      redis.call('HDEL', entry(key), 'action', 'settlement')
      redis.call('ZREM', due, key)
    end
  end
  return {}
end
