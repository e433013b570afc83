-- What every script that changes identity shares: the log, profiles, former owners. `sinks/redis/README.md` describes
-- the keys; `sinks/redis/identity.py` puts this text, with INDEX_BUCKETS, ERASED_S and REFUSED_KEPT, before them.
-- KEYS: the identity outbox, the last version.   ARGV: '{namespace}:', policy (MessagePack), arguments of the script.
local call = redis.call
local log, last_version = KEYS[1], KEYS[2]
local prefix, policy = ARGV[1], cmsgpack.unpack(ARGV[2])
local MAX_ARGUMENTS = 1000         -- arguments of one command: unpack() fails near 8,000
local FORMER_OWNERS_KEPT = 3 * 20  -- of one identifier, three values each

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

local function uuid_text(id)
  local a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p = string.byte(id, 1, 16)
  return HEX[a] .. HEX[b] .. HEX[c] .. HEX[d] .. '-' .. HEX[e] .. HEX[f] .. '-' .. HEX[g] .. HEX[h] .. '-'
    .. HEX[i] .. HEX[j] .. '-' .. HEX[k] .. HEX[l] .. HEX[m] .. HEX[n] .. HEX[o] .. HEX[p]
end

local function uuid_bytes(uuid)
  return (string.gsub(string.gsub(uuid, '-', ''), '%x%x', function(two) return string.char(tonumber(two, 16)) end))
end

local function derived_id(seed) return uuid_bytes(string.sub(redis.sha1hex(seed), 1, 32)) end

-- The hash of the index that holds an identifier.
local INDEX, byte = prefix .. 'i:', string.byte
local function index_key(identifier_hash)
  local high, low = byte(identifier_hash, 1, 2)
  return INDEX .. (high * 256 + low) % INDEX_BUCKETS
end

local function set_fields(key, pairs_)
  for from = 1, #pairs_, MAX_ARGUMENTS do
    call('HSET', key, unpack(pairs_, from, math.min(from + MAX_ARGUMENTS - 1, #pairs_)))
  end
end

local function rule_of(id_type) return policy.rules[id_type] or policy.rules['*'] end

-- The value of an identifier's field: its type and, where the policy needs it, the time (ms) since when it is there.
local function type_of(value) return string.match(value, '^[^\31]*') end
local function since_of(value) return tonumber(string.match(value, '\31(.*)') or 0) end
local function member_value(id_type, ms)
  return rule_of(id_type).dated and id_type .. '\31' .. string.format('%.0f', ms) or id_type
end

-- Fields of a profile's hash.
-- For an identifier hash: '@' its type; '>' its anchor, if that is not the identifier hash; '?' it is quarantined;
-- '!' a refusal of it was logged; '#' of a device, MessagePack {since when (ms), anonymous ids that it has joined}. '~' anchor -> type of an identifier that has left; '<' a profile merged into it.
-- For the profile: f = when it was first seen itself, without what was merged into it (ms), then, if there is one, a
-- space and history_before_ms: an event from before that time may belong to a former owner of its identifiers;
-- h = MessagePack {count of identifiers, count of logged refusals, shared: the profile of a device that several people
-- use, separations (token of a split -> side), type -> count}; it is not there of a profile with one identifier and nothing
-- else, as that of most visitors.
local profiles = {} -- read by this call, by id

local function profile(id)
  local p = profiles[id]
  if not p then
    local uuid = uuid_text(id)
    p = {id = id, uuid = uuid, key = prefix .. 'p:' .. uuid}
    profiles[id] = p
  end
  return p
end

local function read_times(p, written)
  p.first, p.history_before_ms = tonumber(written), 0
  if not p.first then
    local first, history_before_ms = string.match(written, '(%S+) (%S+)')
    p.first, p.history_before_ms = tonumber(first), tonumber(history_before_ms)
  end
end

-- Read a profile's fields f and h, once in a call.
local function load_summary(p)
  if p.counts then return p end
  local found = call('HMGET', p.key, 'f', 'h')
  read_times(p, found[1])
  p.packed = found[2]
  if p.packed then
    p.n, p.refused, p.shared, p.separations, p.counts = unpack(cmsgpack.unpack(found[2]))
    return p
  end
  p.n, p.refused, p.shared, p.separations, p.counts = 1, 0, false, {}, {}
  local fields = call('HGETALL', p.key)
  for i = 1, #fields, 2 do
    if string.byte(fields[i]) == 64 then p.counts[type_of(fields[i + 1])] = 1 end -- @
  end
  return p
end

local function write_times(p)
  local first = string.format('%.0f', p.first)
  return p.history_before_ms > 0 and first .. string.format(' %.0f', p.history_before_ms) or first
end

-- Write a profile's fields f and h, and further fields.
local function save(p, fields)
  for id_type, count in pairs(p.counts) do
    if count == 0 then p.counts[id_type] = nil end
  end
  fields[#fields + 1], fields[#fields + 2] = 'f', write_times(p)
  if p.n ~= 1 or p.refused > 0 or p.shared or next(p.separations) then
    fields[#fields + 1], fields[#fields + 2] = 'h', cmsgpack.pack({p.n, p.refused, p.shared, p.separations, p.counts})
    p.packed = true
  elseif p.packed then
    call('HDEL', p.key, 'h')
    p.packed = false
  end
  set_fields(p.key, fields)
end

-- Create a profile under an id that no profile has or had: one that was merged or erased must not come back.
local function create_profile(candidate)
  local id = candidate
  while call('EXISTS', prefix .. 'alias:' .. uuid_text(id), prefix .. 'p:' .. uuid_text(id)) > 0 do
    id = derived_id(id)
  end
  local p = profile(id)
  p.n, p.first, p.history_before_ms, p.refused, p.shared, p.separations, p.counts = 0, math.huge, 0, 0, false, {}, {}
  return p
end

-- The past of an identifier: {time (ms) up to which its events are erased or 0, former owners {until (ms), profile,
-- anchor, …} in order of time, the profile that was erased}. nil: it has none.
local any_past
local function past_of(identifier_hash)
  if any_past == nil then any_past = call('EXISTS', prefix .. 'identity:past') == 1 end
  local packed = any_past and call('GET', prefix .. 'past:' .. uuid_text(identifier_hash))
  return packed and cmsgpack.unpack(packed) or nil
end

local function write_past(identifier_hash, past)
  local key, packed = prefix .. 'past:' .. uuid_text(identifier_hash), cmsgpack.pack(past)
  -- A former owner never expires: events recorded under its anchor must not be taken for a later owner's.
  if #past[2] > 0 then call('SET', key, packed) else call('SET', key, packed, 'EX', ERASED_S) end
  if not any_past then call('SET', prefix .. 'identity:past', 1) end
  any_past = true
end

-- The anchor of an identifier: the id by which other systems record its events. It is the identifier hash until the
-- identifier passes to another profile, and then a new id each time, so that a later merge, split or erasure does not
-- change what was recorded before.
local function anchor_of(p, identifier_hash)
  return p.history_before_ms > 0 and call('HGET', p.key, '>' .. identifier_hash) or identifier_hash
end

-- Read all fields of a profile's hash, sorted by their kind.
local function read_members(p)
  local found = {
    identifier_hashes = {}, types = {}, values = {}, anchors = {}, quarantined = {}, left = {}, former = {},
    installs = {},
  }
  local fields = call('HGETALL', p.key)
  for i = 1, #fields, 2 do
    local mark, rest, value = string.byte(fields[i]), string.sub(fields[i], 2), fields[i + 1]
    if mark == 64 then -- @
      found.identifier_hashes[#found.identifier_hashes + 1] = rest
      found.values[rest], found.types[rest] = value, type_of(value)
    elseif mark == 62 then found.anchors[rest] = value -- >
    elseif mark == 63 then found.quarantined[rest] = true -- ?
    elseif mark == 35 then found.installs[rest] = value -- #
    elseif mark == 126 then -- ~
      found.left[#found.left + 1] = rest
      found.left[#found.left + 1] = value
    elseif mark == 60 then found.former[#found.former + 1] = rest -- <
    end
  end
  return found
end

-- The index has, of an identifier: its profile, 16 bytes; without one, nothing, or 'x' and 7 bytes of the profile with
-- which it has expired; then 'q' while it is quarantined.
local function is_owned(value) return value and #value >= 16 end
local function is_quarantined(value) return value and #value % 8 == 1 end
local function expired_mark(value) return value and (#value == 8 or #value == 9) and string.sub(value, 1, 8) or nil end
local function mark_expired(identifier_hash, p)
  call('HSET', index_key(identifier_hash), identifier_hash, 'x' .. string.sub(p.id, 1, 7))
end

-- Set the owner of an identifier in the index, and keep its quarantine.
local function set_owner(identifier_hash, id, quarantined)
  call('HSET', index_key(identifier_hash), identifier_hash, quarantined and id .. 'q' or id)
end

