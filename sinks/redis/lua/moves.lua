-- Moves identifiers between profiles, and merges profiles. Put after identity.lua, before decide.lua.

local function add(counts, more)
  for id_type, count in pairs(more) do counts[id_type] = (counts[id_type] or 0) + count end
end

local function merge(winner, loser, event)
  local found = read_members(loser)
  local fields, anchors = {}, found.left
  for i = 1, #anchors, 2 do
    fields[#fields + 1], fields[#fields + 2] = '~' .. anchors[i], anchors[i + 1]
  end
  for _, identifier_hash in ipairs(found.identifier_hashes) do
    set_owner(identifier_hash, winner.id, found.quarantined[identifier_hash])
    fields[#fields + 1], fields[#fields + 2] = '@' .. identifier_hash, found.values[identifier_hash]
    anchors[#anchors + 1] = found.anchors[identifier_hash] or identifier_hash
    anchors[#anchors + 1] = found.types[identifier_hash]
  end
  for identifier_hash, anchor in pairs(found.anchors) do
    fields[#fields + 1], fields[#fields + 2] = '>' .. identifier_hash, anchor
  end
  for identifier_hash in pairs(found.quarantined) do
    fields[#fields + 1], fields[#fields + 2] = '?' .. identifier_hash, 1
  end
  for identifier_hash, seen in pairs(found.installs) do
    fields[#fields + 1], fields[#fields + 2] = '#' .. identifier_hash, seen
  end
  for _, id in ipairs(found.former) do fields[#fields + 1], fields[#fields + 2] = '<' .. id, '' end
  fields[#fields + 1], fields[#fields + 2] = '<' .. loser.id, ''
  set_fields(winner.key, fields)
  call('DEL', loser.key)
  call('SET', prefix .. 'alias:' .. loser.uuid, winner.uuid)
  -- The profile store combines the documents of these profiles with the winner's, once each.
  local absorb = prefix .. 'absorb:'
  local absorbed = call('SMEMBERS', absorb .. loser.uuid)
  call('DEL', absorb .. loser.uuid)
  absorbed[#absorbed + 1] = loser.uuid
  for from = 1, #absorbed, MAX_ARGUMENTS do
    call('SADD', absorb .. winner.uuid, unpack(absorbed, from, math.min(from + MAX_ARGUMENTS - 1, #absorbed)))
  end
  add(winner.counts, loser.counts)
  for token, side in pairs(loser.separations) do winner.separations[token] = side end
  winner.n = winner.n + loser.n -- its own `first` stays, so that the order of merges does not choose the next winner
  winner.history_before_ms = math.max(winner.history_before_ms, loser.history_before_ms)
  winner.shared = winner.shared or loser.shared
  write_log('merge', winner.id, loser.id, anchors, event, 'shared_identifier')
end

-- Move an identifier from a profile to another one at a time, or leave it without an owner (to = nil). Its recorded
-- events stay where they are: the former owner keeps the anchor, and the identifier gets a new one. The caller saves
-- both profiles.
local function move(from, identifier_hash, to, until_ms, event, rule)
  local anchor, id_type = anchor_of(from, identifier_hash), type_of(call('HGET', from.key, '@' .. identifier_hash))
  local past = past_of(identifier_hash) or {0, {}}
  local former_owners = past[2]
  until_ms = math.max(until_ms, former_owners[#former_owners - 2] or 0)
  local last = #former_owners
  former_owners[last + 1], former_owners[last + 2], former_owners[last + 3] = until_ms, from.id, anchor
  past[2] = {unpack(former_owners, math.max(1, #former_owners - FORMER_OWNERS_KEPT + 1))}
  write_past(identifier_hash, past)
  call('HDEL', from.key, '@' .. identifier_hash, '>' .. identifier_hash, '#' .. identifier_hash)
  call('HSET', from.key, '~' .. anchor, id_type)
  from.n = from.n - 1
  from.counts[id_type] = from.counts[id_type] - 1
  if not to then
    call('HDEL', index_key(identifier_hash), identifier_hash)
    write_log('transfer', '', from.id, {anchor, id_type}, event, rule)
    return
  end
  anchor = derived_id(identifier_hash .. string.format('%.0f', next_version()))
  set_owner(identifier_hash, to.id)
  call('HSET', to.key, '@' .. identifier_hash, member_value(id_type, until_ms), '>' .. identifier_hash, anchor)
  to.n, to.counts[id_type] = to.n + 1, (to.counts[id_type] or 0) + 1
  to.history_before_ms = math.max(to.history_before_ms, until_ms)
  write_log('transfer', to.id, from.id, {anchor, id_type}, event, rule)
end

-- Quarantine an identifier: it takes no part until an operator releases it. `owner` is its profile or nil.
local function quarantine(identifier_hash, id_type, owner, event)
  local unowned = owner and '' or expired_mark(call('HGET', index_key(identifier_hash), identifier_hash)) or ''
  set_owner(identifier_hash, owner and owner.id or unowned, true)
  if owner then call('HSET', owner.key, '?' .. identifier_hash, 1) end
  local anchor = owner and anchor_of(owner, identifier_hash) or identifier_hash
  write_log('refuse', owner and owner.id or '', '', {anchor, id_type}, event, 'quarantined')
end

-- Add to the ranking of refusals, which operators read. Answers the sum.
local function rank_refusals(identifier_hash, id_type, more)
  local ranking = prefix .. 'identity:refusals'
  local times = tonumber(call('ZINCRBY', ranking, more, identifier_hash .. id_type))
  if times == more and call('ZCARD', ranking) > REFUSED_KEPT then
    call('ZREMRANGEBYRANK', ranking, 0, math.floor(REFUSED_KEPT / 10)) -- the identifiers with the fewest refusals
  end
  return times
end

-- Count a refusal of an identifier; `owner` is its profile or nil. An identifier that many people were
-- refused is a kiosk's or a shared mailbox's: it is quarantined, and takes no part from now on.
local function count_refusal(identifier_hash, id_type, owner, event)
  if rank_refusals(identifier_hash, id_type, 1) >= policy.quarantine then
    quarantine(identifier_hash, id_type, owner, event)
  end
end

