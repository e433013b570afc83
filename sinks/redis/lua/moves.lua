-- Moves of single identifiers between profiles, and of whole profiles. Put after identity.lua, before decide.lua.

local function add(counts, more)
  for name, count in pairs(more) do counts[name] = (counts[name] or 0) + count end
end

local function merge(winner, loser, event)
  local found = read_members(loser)
  local fields, anchors = {}, found.left
  for i = 1, #anchors, 2 do
    fields[#fields + 1], fields[#fields + 2] = '~' .. anchors[i], anchors[i + 1]
  end
  for _, leaf in ipairs(found.leaves) do
    point(leaf, winner.id, found.quarantined[leaf])
    fields[#fields + 1], fields[#fields + 2] = '@' .. leaf, found.values[leaf]
    anchors[#anchors + 1], anchors[#anchors + 2] = found.anchors[leaf] or leaf, found.types[leaf]
  end
  for leaf, anchor in pairs(found.anchors) do fields[#fields + 1], fields[#fields + 2] = '>' .. leaf, anchor end
  for leaf in pairs(found.quarantined) do fields[#fields + 1], fields[#fields + 2] = '?' .. leaf, 1 end
  for _, id in ipairs(found.former) do fields[#fields + 1], fields[#fields + 2] = '<' .. id, '' end
  fields[#fields + 1], fields[#fields + 2] = '<' .. loser.id, ''
  set_fields(winner.key, fields)
  call('DEL', loser.key)
  call('SET', prefix .. 'alias:' .. loser.name, winner.name)
  -- The profile store adds the documents of those listed here to the winner's, once each.
  local absorb = prefix .. 'absorb:'
  local absorbed = call('SMEMBERS', absorb .. loser.name)
  call('DEL', absorb .. loser.name)
  absorbed[#absorbed + 1] = loser.name
  for from = 1, #absorbed, PAIRS do
    call('SADD', absorb .. winner.name, unpack(absorbed, from, math.min(from + PAIRS - 1, #absorbed)))
  end
  add(winner.counts, loser.counts)
  for token, side in pairs(loser.tokens) do winner.tokens[token] = side end
  winner.n = winner.n + loser.n -- it keeps its own first: so the order of merges does not choose the next winner
  winner.look_back, winner.nobodys = math.max(winner.look_back, loser.look_back), winner.nobodys or loser.nobodys
  write_log('merge', winner.id, loser.id, anchors, event, 'shared_identifier')
end

-- Let an identifier leave a profile at a time, for another profile or for nobody (nil). What was recorded of it stays:
-- the profile keeps its anchor, and the identifier begins anew with another. The caller saves both profiles.
local function move(from, leaf, to, until_ms, event, rule)
  local anchor, name = anchor_of(from, leaf), type_of(call('HGET', from.key, '@' .. leaf))
  local past = past_of(leaf) or {0, {}}
  local tenures = past[2]
  until_ms = math.max(until_ms, tenures[#tenures - 2] or 0)
  tenures[#tenures + 1], tenures[#tenures + 2], tenures[#tenures + 3] = until_ms, from.id, anchor
  past[2] = {unpack(tenures, math.max(1, #tenures - TENURES_KEPT + 1))}
  write_past(leaf, past)
  call('HDEL', from.key, '@' .. leaf, '>' .. leaf)
  call('HSET', from.key, '~' .. anchor, name)
  from.n = from.n - 1
  from.counts[name] = from.counts[name] - 1
  if not to then
    call('HDEL', bucket(leaf), leaf)
    write_log('transfer', '', from.id, {anchor, name}, event, rule)
    return
  end
  anchor = derived(leaf .. string.format('%.0f', next_version()))
  point(leaf, to.id)
  call('HSET', to.key, '@' .. leaf, dated(name, until_ms), '>' .. leaf, anchor)
  to.n, to.counts[name] = to.n + 1, (to.counts[name] or 0) + 1
  to.look_back = math.max(to.look_back, until_ms)
  write_log('transfer', to.id, from.id, {anchor, name}, event, rule)
end

-- Count a refusal of a leaf for operators; the owner is a profile or nil. One that is refused to too many people is a
-- kiosk or a shared mailbox and stays out from now on.
local function count_refusal(leaf, name, owner, event)
  local ranking = prefix .. 'identity:refusals'
  local times = tonumber(call('ZINCRBY', ranking, 1, leaf .. name))
  if times == 1 and call('ZCARD', ranking) > REFUSED_KEPT then
    call('ZREMRANGEBYRANK', ranking, 0, math.floor(REFUSED_KEPT / 10)) -- those that were refused least
  end
  if times >= policy.quarantine then
    point(leaf, owner and owner.id or '', true)
    if owner then call('HSET', owner.key, '?' .. leaf, 1) end
    local anchor = owner and anchor_of(owner, leaf) or leaf
    write_log('refuse', owner and owner.id or '', '', {anchor, name}, event, 'quarantined')
  end
end

