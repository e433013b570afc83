-- Replays logged changes of identity in an empty store, in the order of their versions. Put after identity.lua,
-- replay_log.lua, moves.lua and leave.lua. Changes up to the stored version are skipped, so a call may be repeated; all
-- changes of one event must be in one call.
-- ARGV 3: changes, MessagePack: {version, kind, profile | '', former profile | '', {anchor, type, …}, event id, time of
-- the event (ms), rule, extra}. Extra is, of a split, {token, when the source was first seen until then (ms) or 0}.
-- The kind `seen` is no change: {0, 'seen', profile, '', {}, '', time}, after all changes, lowers when it was first seen.
-- Answers the stored version.
--
-- The log names anchors. Where one is not the identifier hash, two keys tell the identifier; they are deleted at the end.
local anchors_key = prefix .. 'replay:anchors' -- anchor -> identifier hash
local free_key = prefix .. 'replay:free'       -- identifier hash with a past and without an owner -> type
local merged_by = {}                           -- profile -> the event that last merged others into it

local function hash_of(anchor) return call('HGET', anchors_key, anchor) or anchor end

local function open(id)
  local p = profile(id)
  if p.counts then return p end
  if call('EXISTS', p.key) == 1 then return load_summary(p) end
  p.n, p.first, p.history_before_ms, p.refused, p.shared, p.separations, p.counts = 0, math.huge, 0, 0, false, {}, {}
  return p
end

-- A merge leaves the winner's `first` as it is, so the event that merged does not lower it.
local function first_seen(p, change)
  if merged_by[p.id] ~= change[6] then p.first = math.min(p.first, change[7]) end
end

-- The identifier that was bound as the given one of its event: with a past, its anchor is derived.
local function bound_hash(anchor, id_type, number)
  local expired = call('HGET', anchors_key, anchor)
  if expired then return expired end
  if call('EXISTS', free_key) == 0 or call('HEXISTS', free_key, anchor) == 1 then return anchor end
  local free, suffix = call('HGETALL', free_key), string.format('%.0f', version) .. number
  for i = 1, #free, 2 do
    if free[i + 1] == id_type and derived_id(free[i] .. suffix) == anchor then return free[i] end
  end
  return anchor
end

-- The identifier that a transfer moved from a profile: its new anchor is derived.
local function moved_hash(from, anchor, id_type, hints)
  local members, suffix = read_members(from), string.format('%.0f', version)
  for _, identifier_hash in ipairs(members.identifier_hashes) do
    if members.types[identifier_hash] == id_type and derived_id(identifier_hash .. suffix) == anchor then
      return identifier_hash
    end
  end
  for _, identifier_hash in ipairs(hints or {}) do
    if derived_id(identifier_hash .. suffix) == anchor then return identifier_hash end
  end
  return nil
end

local function expire(key) call('EXPIREAT', key, math.floor(version / 1e6) + ERASED_S) end

-- The anchors that expired identifiers get when they come back tell the identifiers.
local function note_next_anchor(identifier_hash)
  local mark = expired_mark(call('HGET', index_key(identifier_hash), identifier_hash))
  if mark then call('HSET', anchors_key, derived_id(identifier_hash .. mark), identifier_hash) end
end

local replays = {}

function replays.bind(change, event)
  local p, anchors, fields = open(change[3]), change[5], {}
  for i = 1, #anchors, 2 do
    local anchor, id_type = anchors[i], anchors[i + 1]
    local identifier_hash = bound_hash(anchor, id_type, (i + 1) / 2)
    if identifier_hash ~= anchor then
      local expired = expired_mark(call('HGET', index_key(identifier_hash), identifier_hash))
      local past = past_of(identifier_hash) or {expired and 0 or -1, {}}
      fields[#fields + 1], fields[#fields + 2] = '>' .. identifier_hash, anchor
      p.history_before_ms = math.max(p.history_before_ms, past[1] + 1, past[2][#past[2] - 2] or 0)
      call('HSET', anchors_key, anchor, identifier_hash)
    end
    call('HDEL', free_key, identifier_hash)
    set_owner(identifier_hash, p.id)
    fields[#fields + 1], fields[#fields + 2] = '@' .. identifier_hash, member_value(id_type, event.occurred)
    p.n, p.counts[id_type] = p.n + 1, (p.counts[id_type] or 0) + 1
  end
  first_seen(p, change)
  save(p, fields)
end

function replays.merge(change, event)
  local winner = open(change[3])
  merge(winner, open(change[4]), event)
  call('DEL', prefix .. 'absorb:' .. winner.uuid) -- the documents are made of all events of both
  merged_by[winner.id] = change[6]
  save(winner, {})
end

function replays.transfer(change, event)
  local from, anchor, id_type, rule = open(change[4]), change[5][1], change[5][2], change[8]
  if change[3] == '' then
    local identifier_hash = hash_of(anchor)
    move(from, identifier_hash, nil, event.occurred, event, rule)
    call('HSET', free_key, identifier_hash, id_type)
    save(from, {})
    return
  end
  local to, identifier_hash = open(change[3]), moved_hash(from, anchor, id_type, change[9])
  if not identifier_hash then return end -- a change before it is missing in the log
  if to.n == 0 then to.shared = rule == 'new_anonymous' end
  if to.n == 0 or rule == 'last_login' then first_seen(to, change) end
  move(from, identifier_hash, to, event.occurred + (rule == 'sign_out' and 1 or 0), event, rule)
  call('HSET', anchors_key, anchor, identifier_hash)
  save(from, {})
  save(to, {})
end

function replays.split(change)
  local source, target, moved, stayed, leaving = open(change[4]), open(change[3]), change[5], {}, {}
  local token, first = change[9][1], change[9][2]
  if first > 0 then source.first = math.min(source.first, first) end
  for i = 1, #moved, 2 do leaving[hash_of(moved[i])] = true end
  local members = read_members(source)
  for _, identifier_hash in ipairs(members.identifier_hashes) do
    if not leaving[identifier_hash] then
      stayed[#stayed + 1] = members.anchors[identifier_hash] or identifier_hash
      stayed[#stayed + 1] = members.types[identifier_hash]
    end
  end
  split_off(source, members, leaving, target, token)
  local done = prefix .. 'split:' .. uuid_text(token)
  call('SET', done, cmsgpack.pack({source.id, target.id, moved, stayed, version}))
  expire(done)
end

-- Of an erased person the log has the erasure alone. Its identifiers, as far as nobody else has them by now:
local function erased_members(p, anchors)
  local found = {identifier_hashes = {}, types = {}, anchors = {}, left = {}, former = {}}
  for i = 1, #anchors, 2 do
    local identifier_hash = hash_of(anchors[i])
    if not is_owned(call('HGET', index_key(identifier_hash), identifier_hash)) then
      found.identifier_hashes[#found.identifier_hashes + 1] = identifier_hash
      found.types[identifier_hash] = anchors[i + 1]
      if identifier_hash ~= anchors[i] then found.anchors[identifier_hash] = anchors[i] end
    else
      found.left[#found.left + 1], found.left[#found.left + 2] = anchors[i], anchors[i + 1]
    end
  end
  return found
end

function replays.erase(change, event)
  local p = profile(change[3])
  if change[8] == 'merged' then
    call('SET', prefix .. 'alias:' .. p.uuid, '!')
    return
  end
  local known = call('EXISTS', p.key) == 1
  local anchors, found = erase_identity(p, event.occurred, not known and erased_members(p, change[5]) or nil)
  for _, member in ipairs(found.identifier_hashes) do
    local past = prefix .. 'past:' .. uuid_text(member)
    if call('TTL', past) > 0 then expire(past) end
    call('HSET', free_key, member, found.types[member])
    note_next_anchor(member)
  end
  keep_erasure(p, found, anchors, event.occurred)
  expire(prefix .. 'erased:' .. p.uuid)
end

function replays.expire(change)
  local p = profile(change[3])
  if call('EXISTS', p.key) == 0 then return end
  local found = read_members(p)
  expire_identity(p, found)
  for _, member in ipairs(found.identifier_hashes) do note_next_anchor(member) end
end

function replays.refuse(change, event)
  local anchor, id_type = change[5][1], change[5][2]
  local identifier_hash = hash_of(anchor)
  local owner = call('HGET', index_key(identifier_hash), identifier_hash)
  owner = is_owned(owner) and load_summary(profile(string.sub(owner, 1, 16))) or nil
  if change[8] == 'quarantined' then
    local most = rule_of(id_type).installs
    local times = tonumber(call('ZSCORE', prefix .. 'identity:refusals', identifier_hash .. id_type) or 0)
    quarantine(identifier_hash, id_type, owner, event)
    if most and times < policy.quarantine then rank_refusals(identifier_hash, id_type, most) end -- or somewhat more
    return
  end
  local p = open(change[3])
  p.refused = p.refused + 1
  save(p, {'!' .. identifier_hash, 1})
  -- A refusal of a former owner's event does not count for the identifier.
  local current = owner and anchor_of(owner, identifier_hash) or identifier_hash
  if anchor == current and (owner or change[4] == '') then rank_refusals(identifier_hash, id_type, 1) end
end

function replays.release(change)
  local identifier_hash = hash_of(change[5][1])
  local owner = call('HGET', index_key(identifier_hash), identifier_hash)
  if is_quarantined(owner) then release(identifier_hash, owner) end
end

for _, change in ipairs(cmsgpack.unpack(ARGV[3])) do
  if change[2] == 'seen' then
    local p = profile(change[3])
    local times = call('HGET', p.key, 'f')
    if times then
      read_times(p, times)
      if change[7] < p.first then
        p.first = change[7]
        call('HSET', p.key, 'f', write_times(p))
      end
    end
  elseif change[1] > version then
    version, logged = change[1], true
    replays[change[2]](change, {id = change[6], occurred = change[7]})
  end
end
close_log()
return string.format('%.0f', version)
