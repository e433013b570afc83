-- What every script that changes identity shares: the log, profiles, what was before. sinks/redis/identity.py describes
-- the keys and puts this text, with INDEX_BUCKETS and ERASED_S, before those scripts.
-- KEYS: the identity log, its last version.   ARGV: '{namespace}:', policy (MessagePack), what the script is asked.
local call = redis.call
local log, last_version = KEYS[1], KEYS[2]
local prefix, policy = ARGV[1], cmsgpack.unpack(ARGV[2])
local PAIRS = 1000         -- arguments of one command: unpack() fails near 8,000
local TENURES_KEPT = 3 * 20 -- former tenures of an identifier, three values each

local clock = call('TIME')
local now_us = clock[1] * 1e6 + clock[2]
local version = tonumber(call('GET', last_version) or 0)
local logged = false

local function next_version() return math.max(version + 1, now_us) end -- also after the server has lost its last writes

local function write_log(kind, profile, from, anchors, event, rule)
  version, logged = next_version(), true
  call('XADD', log, '*', 'c', cmsgpack.pack({version, kind, profile, from, anchors, event.id, event.occurred, rule}))
end

local function close_log()
  if logged then call('SET', last_version, string.format('%.0f', version)) end
end

-- Ids are 16 bytes inside values and a UUID's text in keys and comparisons (Lua compares raw bytes by locale).
local HEX = {}
for high = 0, 15 do
  local digit = string.sub('0123456789abcdef', high + 1, high + 1)
  for low = 0, 15 do HEX[high * 16 + low] = digit .. string.sub('0123456789abcdef', low + 1, low + 1) end
end

local function text(id)
  local a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p = string.byte(id, 1, 16)
  return HEX[a] .. HEX[b] .. HEX[c] .. HEX[d] .. '-' .. HEX[e] .. HEX[f] .. '-' .. HEX[g] .. HEX[h] .. '-'
    .. HEX[i] .. HEX[j] .. '-' .. HEX[k] .. HEX[l] .. HEX[m] .. HEX[n] .. HEX[o] .. HEX[p]
end

local function raw(digits)
  return (string.gsub(string.gsub(digits, '-', ''), '%x%x', function(two) return string.char(tonumber(two, 16)) end))
end

local function derived(seed) return raw(string.sub(redis.sha1hex(seed), 1, 32)) end

local function bucket(leaf)
  local high, low = string.byte(leaf, 1, 2)
  return prefix .. 'i:' .. (high * 256 + low) % INDEX_BUCKETS
end

local function set_fields(key, pairs_)
  for from = 1, #pairs_, PAIRS do
    call('HSET', key, unpack(pairs_, from, math.min(from + PAIRS - 1, #pairs_)))
  end
end

local function rule_of(name) return policy.rules[name] or policy.rules['*'] end

-- An identifier's field holds its type and, where policy asks for it, since when it is there (ms).
local function type_of(value) return string.match(value, '^[^\31]*') end
local function since_of(value) return tonumber(string.match(value, '\31(.*)') or 0) end
local function dated(name, ms) return rule_of(name).dated and name .. '\31' .. string.format('%.0f', ms) or name end

-- Fields of a profile's hash. Of a leaf: '@' its type; '>' its anchor, if that is not the leaf; '?': it is quarantined;
-- '!': a refusal of it was logged. '~' anchor -> type of an identifier that has left; '<' a profile merged into it.
-- Of the whole: f = first seen itself, without what was merged into it (ms), then, if there is one, a space and the time
-- (ms) before which an event must ask what was before; h = MessagePack {identifiers, refusals that were logged,
-- nobody's: a device that two people share, separations (token -> side), type -> how many}.
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

local function read_times(p, written)
  p.first, p.look_back = tonumber(written), 0
  if not p.first then
    local first, look_back = string.match(written, '(%S+) (%S+)')
    p.first, p.look_back = tonumber(first), tonumber(look_back)
  end
end

-- Read what the whole of a profile is, once a call.
local function weigh(p)
  if p.counts then return p end
  local found = call('HMGET', p.key, 'f', 'h')
  read_times(p, found[1])
  p.n, p.refused, p.nobodys, p.tokens, p.counts = unpack(cmsgpack.unpack(found[2]))
  return p
end

local function write_times(p)
  local first = string.format('%.0f', p.first)
  return p.look_back > 0 and first .. string.format(' %.0f', p.look_back) or first
end

-- Write it back, with more fields.
local function save(p, fields)
  for name, count in pairs(p.counts) do
    if count == 0 then p.counts[name] = nil end
  end
  fields[#fields + 1], fields[#fields + 2] = 'f', write_times(p)
  fields[#fields + 1], fields[#fields + 2] = 'h', cmsgpack.pack({p.n, p.refused, p.nobodys, p.tokens, p.counts})
  set_fields(p.key, fields)
end

-- A new profile, with an id that no profile has or had: one that was merged or erased must not come back.
local function mint(candidate)
  local id = candidate
  while call('EXISTS', prefix .. 'alias:' .. text(id), prefix .. 'p:' .. text(id)) > 0 do id = derived(id) end
  local p = profile(id)
  p.n, p.first, p.look_back, p.refused, p.nobodys, p.tokens, p.counts = 0, math.huge, 0, 0, false, {}, {}
  return p
end

-- What an identifier was before: {time up to which its events are erased (ms) or 0, {until (ms), profile, anchor, …},
-- the profile that was erased}, the tenures in order of time. nil: nothing.
local any_past
local function past_of(leaf)
  if any_past == nil then any_past = call('EXISTS', prefix .. 'identity:past') == 1 end
  local packed = any_past and call('GET', prefix .. 'past:' .. text(leaf))
  return packed and cmsgpack.unpack(packed) or nil
end

local function write_past(leaf, past)
  local key, packed = prefix .. 'past:' .. text(leaf), cmsgpack.pack(past)
  -- A tenure is remembered for good: what is recorded under its anchor must not be taken for a later one's.
  if #past[2] > 0 then call('SET', key, packed) else call('SET', key, packed, 'EX', ERASED_S) end
  if not any_past then call('SET', prefix .. 'identity:past', 1) end
  any_past = true
end

-- An identifier's name in other systems. It is the leaf, and a new one each time that somebody else gets the
-- identifier: so what is said of it later (a merge, a split, an erasure) never touches what was recorded before.
local function anchor_of(p, leaf)
  return p.look_back > 0 and call('HGET', p.key, '>' .. leaf) or leaf
end

-- Sort the fields of a profile's hash by what they say.
local function read_members(p)
  local found = {leaves = {}, types = {}, values = {}, anchors = {}, quarantined = {}, left = {}, former = {}}
  local fields = call('HGETALL', p.key)
  for i = 1, #fields, 2 do
    local mark, rest, value = string.byte(fields[i]), string.sub(fields[i], 2), fields[i + 1]
    if mark == 64 then
      found.leaves[#found.leaves + 1] = rest
      found.values[rest], found.types[rest] = value, type_of(value)
    elseif mark == 62 then found.anchors[rest] = value
    elseif mark == 63 then found.quarantined[rest] = true
    elseif mark == 126 then
      found.left[#found.left + 1] = rest
      found.left[#found.left + 1] = value
    elseif mark == 60 then found.former[#found.former + 1] = rest
    end
  end
  return found
end

-- Let the index name another profile for a leaf, which stays in quarantine if it is there.
local function point(leaf, id, quarantined)
  call('HSET', bucket(leaf), leaf, quarantined and id .. 'q' or id)
end

