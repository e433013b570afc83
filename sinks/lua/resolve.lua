-- Resolves events to profiles, in order, in one atomic step. sinks/redis_identity.py describes the keys.
-- KEYS: the identity log, its last version.   ARGV: '{namespace}:', policy, events; the last two are MessagePack.
--
-- An event is a union in the making: its identifiers are walked from the strongest to the weakest, each brings itself
-- (nobody has it yet) or the profile that has it, and what would break a limit stays out, alone. Nothing is written
-- before the whole event is decided, because a failing script is not rolled back.
-- Answers MessagePack, one entry an event: 0 = duplicate, false = nobody, otherwise
-- {profile, index of the anchor in claims, profiles merged into it | false, refusals {index in claims, rule} | false}.
local log, last_version = KEYS[1], KEYS[2]
local prefix, policy, events = ARGV[1], cmsgpack.unpack(ARGV[2]), cmsgpack.unpack(ARGV[3])
local REFUSALS_LOGGED = 100 -- of one profile: a shared or runaway device must not flood the log
local PAIRS = 1000          -- arguments of one command: unpack() fails near 8,000

local clock = redis.call('TIME')
local now_us = clock[1] * 1e6 + clock[2]
local version = tonumber(redis.call('GET', last_version) or 0)
local logged = false

local function write_log(kind, profile, from, anchors, event, rule)
  version = math.max(version + 1, now_us) -- also after the server has lost its last writes
  logged = true
  redis.call('XADD', log, '*', 'c',
    cmsgpack.pack({version, kind, profile, from, anchors, event.id, event.occurred, rule}))
end

-- Ids are 16 bytes inside values and a UUID's text in keys and comparisons (Lua compares raw bytes by locale).
local function text(id)
  return string.format('%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x', string.byte(id, 1, 16))
end

local function bucket(leaf)
  local high, low = string.byte(leaf, 1, 2)
  return prefix .. 'i:' .. (high * 256 + low) % policy.buckets
end

-- Fields of a profile's hash: '@' leaf -> type, '#' type -> how many, n = all of them, f = first seen (ms),
-- o = its types that policy does not list, '!' leaf -> a refusal that was logged, r = how many of those.
local COUNTED = {'n', 'f', 'r', 'o'}
for i, name in ipairs(policy.types) do COUNTED[4 + i] = '#' .. name end

local profiles = {} -- those that this call has met

local function profile(id)
  local p = profiles[id]
  if not p then
    local name = text(id)
    p = {id = id, name = name, key = prefix .. 'p:' .. name}
    profiles[id] = p
  end
  return p
end

-- Read what policy counts, once a call.
local function weigh(p)
  if p.counts then return p end
  local found = redis.call('HMGET', p.key, unpack(COUNTED))
  p.n, p.first, p.refused = tonumber(found[1] or 0), tonumber(found[2] or math.huge), tonumber(found[3] or 0)
  p.others, p.counts = found[4] or '', {}
  for i, name in ipairs(policy.types) do p.counts[name] = tonumber(found[4 + i]) end
  for name in string.gmatch(p.others, '[^\31]+') do p.counts[name] = tonumber(redis.call('HGET', p.key, '#' .. name)) end
  return p
end

local function rule_of(name) return policy.rules[name] or policy.rules['*'] end

local function is_known(p)
  for name in pairs(p.counts) do
    if rule_of(name).known then return true end
  end
  return false
end

-- Of two profiles the one that goes on: known, then first seen earlier, then the smaller id. The same whoever asks.
local function prevails(a, b)
  local a_known, b_known = is_known(a), is_known(b)
  if a_known ~= b_known then return a_known end
  if a.first ~= b.first then return a.first < b.first end
  return a.name < b.name
end

-- The rule against adding n identifiers, counted by type, to the union; nil when there is none. Two parts that are over
-- a limit of today by a policy of yesterday stay usable: only a link that adds to a count can break it.
local function objection(union, n, counts)
  for name, count in pairs(counts) do
    local there = union.counts[name]
    if there and there + count > rule_of(name).limit then return 'limit' end
  end
  if union.n > 0 and union.n + n > policy.cap then return 'cap' end
end

local function add(counts, more)
  for name, count in pairs(more) do counts[name] = (counts[name] or 0) + count end
end

local function set_fields(key, pairs_)
  for from = 1, #pairs_, PAIRS do
    redis.call('HSET', key, unpack(pairs_, from, math.min(from + PAIRS - 1, #pairs_)))
  end
end

local function merge(winner, loser, event)
  local fields = redis.call('HGETALL', loser.key)
  local members, anchors = {}, {}
  for i = 1, #fields, 2 do
    if string.byte(fields[i]) == 64 then
      local leaf = string.sub(fields[i], 2)
      redis.call('HSET', bucket(leaf), leaf, winner.id)
      members[#members + 1], members[#members + 2] = fields[i], fields[i + 1]
      anchors[#anchors + 1], anchors[#anchors + 2] = leaf, fields[i + 1]
    end
  end
  set_fields(winner.key, members)
  redis.call('DEL', loser.key)
  redis.call('SET', prefix .. 'alias:' .. loser.name, winner.name)
  -- The profile store adds the documents of those listed here to the winner's, once each.
  local absorbed = redis.call('SMEMBERS', prefix .. 'absorb:' .. loser.name)
  redis.call('DEL', prefix .. 'absorb:' .. loser.name)
  absorbed[#absorbed + 1] = loser.name
  for from = 1, #absorbed, PAIRS do
    redis.call('SADD', prefix .. 'absorb:' .. winner.name, unpack(absorbed, from, math.min(from + PAIRS - 1, #absorbed)))
  end
  add(winner.counts, loser.counts)
  winner.n, winner.first = winner.n + loser.n, math.min(winner.first, loser.first)
  write_log('merge', winner.id, loser.id, anchors, event, 'shared_identifier')
end

-- An id that no profile has or had: one that was merged or erased must not come back.
local function mint(candidate)
  local id, name = candidate, text(candidate)
  while redis.call('EXISTS', prefix .. 'alias:' .. name, prefix .. 'p:' .. name) > 0 do
    id = string.gsub(string.sub(redis.sha1hex(id), 1, 32), '%x%x', function(digits)
      return string.char(tonumber(digits, 16))
    end)
    name = text(id)
  end
  local p = profile(id)
  p.n, p.first, p.refused, p.others, p.counts = 0, math.huge, 0, '', {}
  return p
end

-- Decide on every claim without writing: which profiles come together, which leaves are new, what is refused.
local function decide(claims, owners)
  local union = {n = 0, counts = {}, members = {}, profiles = {}, fresh = {}, refused = {}}
  for i = 1, #claims, 2 do
    local name, owner = claims[i], owners[i]
    if not (owner and union.members[owner]) then
      local p = owner and weigh(profile(owner))
      local n, counts = p and p.n or 1, p and p.counts or {[name] = 1}
      local rule = objection(union, n, counts)
      if not rule then
        union.n = union.n + n
        add(union.counts, counts)
        if p then
          union.members[owner] = true
          union.profiles[#union.profiles + 1] = p
        else
          union.fresh[#union.fresh + 1] = i
        end
      else
        union.refused[#union.refused + 1] = {i, rule}
      end
    end
    union.anchor = union.anchor or i -- nothing stands against the first
  end
  return union
end

-- Note the new leaves, the counts and the time in the profile's own hash and in the index.
local function settle(p, union, claims, event, minted)
  local fields, anchors = {}, {}
  for _, i in ipairs(union.fresh) do
    local name, leaf = claims[i], claims[i + 1]
    redis.call('HSET', bucket(leaf), leaf, p.id)
    fields[#fields + 1], fields[#fields + 2] = '@' .. leaf, name
    anchors[#anchors + 1], anchors[#anchors + 2] = leaf, name
    p.n, p.counts[name] = p.n + 1, (p.counts[name] or 0) + 1
  end
  p.first = math.min(p.first, event.occurred)
  p.others = ''
  for name, count in pairs(p.counts) do
    fields[#fields + 1], fields[#fields + 2] = '#' .. name, count
    if not policy.rules[name] then p.others = p.others .. name .. '\31' end
  end
  if p.others ~= '' then fields[#fields + 1], fields[#fields + 2] = 'o', p.others end
  fields[#fields + 1], fields[#fields + 2] = 'n', p.n
  fields[#fields + 1], fields[#fields + 2] = 'f', string.format('%.0f', p.first)
  set_fields(p.key, fields)
  if #anchors > 0 then write_log('bind', p.id, '', anchors, event, minted and 'new' or 'attach') end
end

local function log_refusals(p, union, claims, owners, event)
  for _, refusal in ipairs(union.refused) do
    local i, leaf = refusal[1], claims[refusal[1] + 1]
    if p.refused < REFUSALS_LOGGED and redis.call('HSETNX', p.key, '!' .. leaf, 1) == 1 then
      p.refused = redis.call('HINCRBY', p.key, 'r', 1)
      write_log('refuse', p.id, owners[i] or '', {leaf, claims[i]}, event, refusal[2])
    end
  end
end

-- A warm profile costs no write, unless the event is older than all that were seen of it.
local function touch(p, occurred)
  if not p.first then p.first = tonumber(redis.call('HGET', p.key, 'f') or math.huge) end
  if occurred < p.first then
    p.first = occurred
    redis.call('HSET', p.key, 'f', string.format('%.0f', occurred))
  end
end

local function resolve(event)
  local claims, owners, same = event.claims, {}, true
  for i = 1, #claims, 2 do
    owners[i] = redis.call('HGET', bucket(claims[i + 1]), claims[i + 1])
    same = same and owners[i] and owners[i] == owners[1]
  end
  if same then
    touch(profile(owners[1]), event.occurred)
    return {owners[1], 1, false, false}
  end
  local union = decide(claims, owners)
  local p, merged = union.profiles[1], nil
  for i = 2, #union.profiles do
    if prevails(union.profiles[i], p) then p = union.profiles[i] end
  end
  local minted = not p
  p = p or mint(event.candidate)
  for _, other in ipairs(union.profiles) do
    if other ~= p then
      merge(p, other, event)
      merged = merged or {}
      merged[#merged + 1] = other.id
    end
  end
  if merged or #union.fresh > 0 then settle(p, union, claims, event, minted) else touch(p, event.occurred) end
  log_refusals(p, union, claims, owners, event)
  return {p.id, union.anchor, merged or false, #union.refused > 0 and union.refused or false}
end

local answers = {}
for number, packed in ipairs(events) do
  local event = {
    id = packed[1], key = packed[2], origin = packed[3], received = packed[4], occurred = packed[5],
    candidate = packed[6], claims = packed[7],
  }
  local mark, where = seen_find(prefix, event.key, event.received)
  if mark and string.sub(mark, 1, 8) ~= event.origin then
    answers[number] = 0
  else
    if not mark then seen_write(where, event.key, event.origin) end
    answers[number] = #event.claims > 0 and resolve(event)
  end
end
if logged then redis.call('SET', last_version, string.format('%.0f', version)) end
return cmsgpack.pack(answers)
