-- The marks of events that were seen: one layout for every script that reads or writes them (see sinks/seen.py).
-- This text is put before those scripts; GENERATION_MS, BUCKETS and TTL_S come from sinks/seen.py.
local function seen_bucket(prefix, event_key, generation)
  local high, low = string.byte(event_key, 1, 2)
  return prefix .. 'seen:' .. generation .. ':' .. (high * 256 + low) % BUCKETS
end

-- The mark of an event: its value or false, and the bucket that holds it (or that a new mark belongs in).
local function seen_find(prefix, event_key, received_ms)
  local generation = math.floor(received_ms / GENERATION_MS)
  local bucket = seen_bucket(prefix, event_key, generation)
  local field = string.sub(event_key, 3, 12)
  local value = redis.call('HGET', bucket, field)
  if value then return value, bucket end
  local earlier = seen_bucket(prefix, event_key, generation - 1)
  value = redis.call('HGET', earlier, field)
  if value then return value, earlier end
  return false, bucket
end

-- Write a mark into the bucket that seen_find named.
local function seen_write(bucket, event_key, value)
  redis.call('HSET', bucket, string.sub(event_key, 3, 12), value)
  -- The bucket's first mark sets its life: it is of a generation, so later ones do not need a longer one.
  if redis.call('HLEN', bucket) == 1 then redis.call('EXPIRE', bucket, TTL_S) end
end

-- Has the profile store applied the event that has this mark?
local function seen_applied(value)
  return value and string.byte(value, -1) == 33 and #value > 8
end
