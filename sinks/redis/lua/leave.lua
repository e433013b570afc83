-- Identifiers that leave a profile at an operator's word: by a split or an erasure. Put after identity.lua.

-- Move identifiers of a profile to a new one, and separate the two: no event merges them again.
-- `members`: of the source, as read; `leaving`: identifier hash -> true; `token`: names the operation.
local function split_off(source, members, leaving, target, token)
  local fields, gone = {}, {}
  for identifier_hash in pairs(leaving) do
    local id_type, anchor = members.types[identifier_hash], members.anchors[identifier_hash]
    set_owner(identifier_hash, target.id, members.quarantined[identifier_hash])
    fields[#fields + 1], fields[#fields + 2] = '@' .. identifier_hash, members.values[identifier_hash]
    if anchor then fields[#fields + 1], fields[#fields + 2] = '>' .. identifier_hash, anchor end
    if members.quarantined[identifier_hash] then
      fields[#fields + 1], fields[#fields + 2] = '?' .. identifier_hash, 1
    end
    for _, mark in ipairs({'@', '>', '?', '!'}) do gone[#gone + 1] = mark .. identifier_hash end
    target.n, target.counts[id_type] = target.n + 1, (target.counts[id_type] or 0) + 1
    source.n = source.n - 1
    source.counts[id_type] = source.counts[id_type] - 1
  end
  for from = 1, #gone, MAX_ARGUMENTS do
    call('HDEL', source.key, unpack(gone, from, math.min(from + MAX_ARGUMENTS - 1, #gone)))
  end
  -- It is not known when each part was first seen: both may be as old as the whole.
  target.first, target.history_before_ms, target.shared = source.first, source.history_before_ms, source.shared
  for earlier, side in pairs(source.separations) do target.separations[earlier] = side end
  source.separations[token], target.separations[token] = '0', '1'
  save(source, {})
  save(target, fields)
end

-- Erase a profile; events of its identifiers up to a time (ms) are suppressed.
-- Answers its anchors {anchor, type, …}, with those of identifiers that have left, and what it was made of: `found`,
-- else as it is stored.
local function erase_identity(p, at, found)
  found = found or read_members(p)
  local anchors = found.left -- events recorded under identifiers that have left are the person's too
  for _, member in ipairs(found.identifier_hashes) do
    local id_type, was = found.types[member], past_of(member) or {0, {}}
    write_past(member, {math.max(was[1], at), was[2], p.id})
    call('HDEL', index_key(member), member)
    -- Events under its first anchor may be those of a profile that has expired, and are not erased.
    if found.anchors[member] and #was[2] == 0 then mark_expired(member, p) end
    call('ZREM', prefix .. 'identity:refusals', member .. id_type)
    anchors[#anchors + 1], anchors[#anchors + 2] = found.anchors[member] or member, id_type
  end
  call('DEL', p.key)
  for _, id in ipairs(found.former) do
    call('SET', prefix .. 'alias:' .. uuid_text(id), '!')
    -- The rows of their merges are deleted with the person: these alone say that the ids are nobody's.
    write_log('erase', id, '', {}, {id = '', occurred = at}, 'merged')
  end
  call('SET', prefix .. 'alias:' .. p.uuid, '!')
  return anchors, found
end

-- Delete a profile that has expired: its identifiers have no owner, and get another anchor when they come back.
local function expire_identity(p, found)
  for _, member in ipairs(found.identifier_hashes) do mark_expired(member, p) end
  for _, id in ipairs(found.former) do call('DEL', prefix .. 'alias:' .. uuid_text(id)) end
  call('DEL', p.key)
end

-- Keep the answer of an erasure for a repeated call.
local function keep_erasure(p, found, anchors, at)
  local answer = cmsgpack.pack({p.id, found.former, anchors, at, version})
  call('SET', prefix .. 'erased:' .. p.uuid, answer, 'EX', ERASED_S)
  return answer
end

-- End the quarantine of an identifier and delete its count of refusals. `owner`: its entry in the index.
-- Answers its profile, or nil, and its type, or ''.
local function release(identifier_hash, owner)
  local id_type = ''
  for _, member in ipairs(call('ZRANGE', prefix .. 'identity:refusals', 0, -1)) do
    if string.sub(member, 1, 16) == identifier_hash then
      id_type = string.sub(member, 17)
      call('ZREM', prefix .. 'identity:refusals', member)
    end
  end
  if not is_owned(owner) then
    local expired = expired_mark(owner)
    if expired then
      set_owner(identifier_hash, expired)
    else
      call('HDEL', index_key(identifier_hash), identifier_hash)
    end
    return nil, id_type
  end
  local p = profile(string.sub(owner, 1, 16))
  set_owner(identifier_hash, p.id)
  call('HDEL', p.key, '?' .. identifier_hash)
  return p, type_of(call('HGET', p.key, '@' .. identifier_hash))
end

