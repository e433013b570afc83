-- Who an event is of, and what that person's profile is after it, in one atomic step.
-- ARGV: prefix, name of the event, event, channel, time in ms, identifiers. Answers the person's id, empty: nobody.
local prefix, name, kind, channel, at = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
if #ARGV < 6 then return '' end

local person
local others = {}
for i = 6, #ARGV do
  local owner = redis.call('GET', prefix .. 'identifier:' .. ARGV[i])
  if owner and not person then
    person = owner
  elseif owner and owner ~= person then
    others[owner] = true
  end
end
if not person then person = tostring(redis.call('INCR', prefix .. 'people')) end
local profile, members = prefix .. 'profile:' .. person, prefix .. 'members:' .. person

local function join(first, last)
  local known = redis.call('HMGET', profile, 'first_ms', 'last_ms')
  if not known[1] or first < tonumber(known[1]) then redis.call('HSET', profile, 'first_ms', first) end
  if not known[2] or last > tonumber(known[2]) then redis.call('HSET', profile, 'last_ms', last) end
end

for other in pairs(others) do -- two people are one: identifiers and profile move to the first
  local theirs = redis.call('SMEMBERS', prefix .. 'members:' .. other)
  for _, identifier in ipairs(theirs) do
    redis.call('SET', prefix .. 'identifier:' .. identifier, person)
    redis.call('SADD', members, identifier)
  end
  local fields, first, last = redis.call('HGETALL', prefix .. 'profile:' .. other), nil, nil
  for i = 1, #fields, 2 do
    if fields[i] == 'first_ms' then first = tonumber(fields[i + 1])
    elseif fields[i] == 'last_ms' then last = tonumber(fields[i + 1])
    else redis.call('HINCRBY', profile, fields[i], fields[i + 1]) end
  end
  if first then join(first, last) end
  redis.call('DEL', prefix .. 'members:' .. other, prefix .. 'profile:' .. other)
end
for i = 6, #ARGV do
  redis.call('SET', prefix .. 'identifier:' .. ARGV[i], person)
  redis.call('SADD', members, ARGV[i])
end

if redis.call('SET', prefix .. 'seen:' .. name, 1, 'NX', 'EX', 1814400) then -- twice is once, for 21 days
  redis.call('HINCRBY', profile, 'events', 1)
  redis.call('HINCRBY', profile, 'event:' .. kind, 1)
  redis.call('HINCRBY', profile, 'channel:' .. channel, 1)
  join(at, at)
end
return person
