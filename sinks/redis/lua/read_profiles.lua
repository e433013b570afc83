-- Reads live profiles, the profiles that they have yet to absorb, and which events are applied. Writes nothing.
-- ARGV: prefix `{namespace}:`; msgpack [[profile id, …], [event key, …], [received_ms, …]].
-- Answer: [[live id or '!', …], [[id, version, document, state, [loser, version, document, state, …]], …],
-- '0' or '1' for each event].
local prefix, request = ARGV[1], cmsgpack.unpack(ARGV[2])
local live, profiles, known = {}, {}, {}

local function stored(profile_id)
  local found = redis.call('HMGET', prefix .. 'profile:' .. profile_id, 'version', 'document', 'state')
  return found[1] or '0', found[2], found[3]
end

for index, profile_id in ipairs(request[1]) do
  local now, hops = profile_id, 0
  -- One EXISTS for both keys: merges are rare.
  local merged = redis.call('EXISTS', prefix .. 'alias:' .. now, prefix .. 'absorb:' .. now) > 0
  local next = merged and redis.call('GET', prefix .. 'alias:' .. now)
  while next do
    now, hops = next, hops + 1
    if hops > 10000 then return redis.error_reply('ERR alias of ' .. profile_id .. ' goes in a circle') end
    next = now ~= '!' and redis.call('GET', prefix .. 'alias:' .. now)
  end
  live[index] = now
  if now ~= '!' and not known[now] then
    known[now] = true
    local absorbed = {}
    for _, loser in ipairs(merged and redis.call('SMEMBERS', prefix .. 'absorb:' .. now) or {}) do
      local version, document, state = stored(loser)
      local last = #absorbed
      absorbed[last + 1], absorbed[last + 2], absorbed[last + 3], absorbed[last + 4] = loser, version, document, state
    end
    local version, document, state = stored(now)
    profiles[#profiles + 1] = {now, version, document, state, absorbed}
  end
end

local applied = {}
local marks = seen_find(prefix, request[2], request[3])
for index, key in ipairs(request[2]) do applied[index] = seen_applied(marks[key]) and '1' or '0' end
return {live, profiles, table.concat(applied)}
