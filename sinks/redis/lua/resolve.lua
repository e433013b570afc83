-- Resolves events to profiles, in order, in one atomic step. Put after identity.lua, moves.lua, decide.lua and
-- seen.lua.
-- ARGV 3: MessagePack of six lists of the events' keys, origins, received_ms, occurred_ms, signed_out and count of claims,
-- and the list of all claims (type, identifier hash, …) in that order: a list for each event costs more than what is in
-- it. ARGV 4: MessagePack of their ids; 5: their candidates, 16 bytes each.
--
-- The identifiers of an event are taken from the strongest to the weakest. Each adds itself (it has no owner) or its
-- owner's profile to a union; one that would break a limit is refused, alone. Nothing is written before the whole event
-- is decided, because a failing script is not rolled back. A redelivered event changes nothing.
-- Answers MessagePack: the version at the beginning, then one entry an event: 0 = duplicate, 1 = suppressed, 2 = duplicate
-- of another content, false = no identifiers, a text = the profile, anchored by the first claim and as of that version,
-- otherwise {profile or '', anchor: its claim or the anchor itself, profiles merged into it | false, refusals {claim,
-- rule} | false, version}.
local REFUSALS_LOGGED = 100 -- of one profile: a shared or runaway device must not flood the log

if policy.guarded and call('EXISTS', prefix .. 'people') == 0 then
  return redis.error_reply('LOSTPEOPLE ' .. LOST_PEOPLE)
end

-- Write the unowned identifiers of the union into the index and the profile.
local function bind(p, union, event, created)
  local claims, fields, anchors = event.claims, {}, {}
  for number, i in ipairs(union.unowned) do
    local id_type, identifier_hash, anchor, past = claims[i], claims[i + 1], claims[i + 1], event.pasts[i]
    if past then
      local expired = event.expired[i]
      anchor = derived_id(identifier_hash .. (expired or string.format('%.0f', next_version()) .. number))
      fields[#fields + 1], fields[#fields + 2] = '>' .. identifier_hash, anchor
      p.history_before_ms = math.max(p.history_before_ms, past[1] + 1, past[2][#past[2] - 2] or 0)
    end
    set_owner(identifier_hash, p.id)
    fields[#fields + 1], fields[#fields + 2] = '@' .. identifier_hash, member_value(id_type, event.time)
    anchors[#anchors + 1], anchors[#anchors + 2] = anchor, id_type
    p.n, p.counts[id_type] = p.n + 1, (p.counts[id_type] or 0) + 1
  end
  save(p, fields)
  if #anchors > 0 then write_log('bind', p.id, '', anchors, event, created and 'new' or 'attach') end
end

-- The claims {claim, owner} whose owner has not joined the union by a weaker claim.
local function outside(union, owned)
  local found = {}
  for _, one in ipairs(owned) do
    if not union.members[one[2].id] then found[#found + 1] = one end
  end
  return found
end

-- Move claims {claim, owner} to a new profile.
local function move_to_new_profile(event, moving, until_ms, rule, shared)
  local new_profile = create_profile(derived_id(event.candidate .. rule))
  new_profile.first, new_profile.shared = event.occurred, shared or false
  for _, one in ipairs(moving) do
    move(one[2], event.claims[one[1] + 1], new_profile, until_ms, event, rule)
    save(one[2], {})
  end
  save(new_profile, {})
end

-- Signing out moves the anonymous identifiers to a new profile, since another person may use the device next. The event
-- itself is still of the person who signs out.
local function sign_out(p, union, event)
  local moving, refused = {}, {}
  for _, refusal in ipairs(union.refused) do refused[refusal[1]] = true end
  for i = 1, #event.claims, 2 do
    local stays = refused[i] or event.former_anchors[i] or rule_of(event.claims[i]).known
    if not stays then moving[#moving + 1] = {i, p} end
  end
  if #moving > 0 and is_known(p.counts) then move_to_new_profile(event, moving, event.time + 1, 'sign_out') end
end

local function log_refusals(p, union, event)
  for _, refusal in ipairs(union.refused) do
    local i, rule = refusal[1], refusal[2]
    local id_type, identifier_hash, former = event.claims[i], event.claims[i + 1], event.former_anchors[i]
    if rule ~= 'quarantined' and p.refused < REFUSALS_LOGGED
        and call('HSETNX', p.key, '!' .. identifier_hash, 1) == 1 then
      local owner = call('HGET', index_key(identifier_hash), identifier_hash)
      owner = is_owned(owner) and load_summary(profile(owner)) or nil
      p.refused = p.refused + 1
      save(p, {})
      local anchor = former or owner and anchor_of(owner, identifier_hash) or identifier_hash
      write_log('refuse', p.id, event.owners[i] or '', {anchor, id_type}, event, rule)
      if not former then count_refusal(identifier_hash, id_type, owner, event) end
    end
  end
end

-- Lower the time at which a profile was first seen, if the event is older. So most events of a profile cost no write.
local function lower_first_seen(p, occurred)
  if occurred < p.first then
    p.first = occurred
    call('HSET', p.key, 'f', write_times(p))
  end
end

-- Read the past of identifiers without an owner, and of those whose owner got them after the event happened: the event
-- belongs to the owner at its time. Answers true when that person was erased since.
local function read_former_owners(event)
  local claims, owners = event.claims, event.owners
  for i = 1, #claims, 2 do
    local owner, past, expired = owners[i], nil, nil
    if owner and #owner ~= 16 then
      if is_quarantined(owner) then
        if event.quarantined == NONE then event.quarantined = {} end
        event.quarantined[i] = true
      end
      expired = expired_mark(owner)
      owner = is_owned(owner) and string.sub(owner, 1, 16) or false
      owners[i] = owner
    end
    if not owner or event.time < load_summary(profile(owner)).history_before_ms then past = past_of(claims[i + 1]) end
    if expired then
      if event.expired == NONE then event.expired = {} end
      event.expired[i], past = expired, past or {0, {}}
    end
    if past then
      if event.pasts == NONE then event.pasts, event.former_anchors = {}, {} end
      event.pasts[i] = past
      if past[1] > 0 and event.time <= past[1] then return true end
      for at = 1, #past[2], 3 do
        -- A redelivered event belongs to the last owner, if the identifier has none now.
        local last = event.redelivered and not owner and at == #past[2] - 2
        if last or event.time < past[2][at] then
          local id = uuid_text(past[2][at + 1])
          local onward = call('GET', prefix .. 'alias:' .. id)
          while onward and onward ~= '!' do
            id = onward
            onward = call('GET', prefix .. 'alias:' .. id)
          end
          if onward then return true end
          owners[i], event.former_anchors[i] = uuid_bytes(id), past[2][at + 2]
          break
        end
      end
    end
  end
  return false
end

-- The anonymous ids of an event that are about to join the owner of its device (claim i).
local function new_installs(event, i)
  local claims, owners, found = event.claims, event.owners, {}
  for j = 1, #claims, 2 do
    local joins = owners[j] ~= owners[i] and not event.quarantined[j] and not event.former_anchors[j]
    if claims[j] == 'anonymous_id' and joins then found[#found + 1] = claims[j + 1] end
  end
  return found
end

-- Let the anonymous ids leave that a device has joined, each to a profile of its own: those of a known person only as far
-- as they are listed, all of an anonymous profile. An id of the person comes back with the next login.
local function scatter(event, p, seen)
  local members, listed, leaving = read_members(p), {}, {}
  local all = not is_known(p.counts)
  for at = 2, #seen do listed[seen[at]] = true end
  for _, identifier_hash in ipairs(members.identifier_hashes) do
    local may_leave = (all or listed[identifier_hash]) and not members.quarantined[identifier_hash]
    if may_leave and members.types[identifier_hash] == 'anonymous_id' then
      leaving[#leaving + 1] = {uuid_text(identifier_hash), identifier_hash}
    end
  end
  table.sort(leaving, function(a, b) return a[1] < b[1] end)
  for _, one in ipairs(leaving) do
    local new_profile = create_profile(derived_id(event.candidate .. one[2]))
    new_profile.first = event.occurred
    move(p, one[2], new_profile, event.time, event, 'quarantined')
    save(new_profile, {})
  end
  save(p, {})
end

-- Quarantine devices that come with too many anonymous ids to be one. Logins are no evidence: who logs in is known.
local function quarantine_shared_devices(event)
  local claims = event.claims
  for i = 1, #claims, 2 do
    if rule_of(claims[i]).known then return end
  end
  for i = 1, #claims, 2 do
    local most, owner = rule_of(claims[i]).installs, event.owners[i]
    local found = most and owner and not event.quarantined[i] and not event.former_anchors[i] and new_installs(event, i)
    if found and #found > 0 then
      local p, field = load_summary(profile(owner)), '#' .. claims[i + 1]
      local packed = call('HGET', p.key, field)
      local seen = packed and cmsgpack.unpack(packed) or {event.time}
      if event.time - seen[1] > policy.installs_window then seen = {event.time} end
      for _, identifier_hash in ipairs(found) do seen[#seen + 1] = identifier_hash end
      if #seen - 1 < most then
        call('HSET', p.key, field, cmsgpack.pack(seen))
      else
        call('HDEL', p.key, field)
        quarantine(claims[i + 1], claims[i], p, event)
        rank_refusals(claims[i + 1], claims[i], #seen - 1)
        scatter(event, p, seen)
        if event.quarantined == NONE then event.quarantined = {} end
        event.quarantined[i] = true
        for j = 1, #claims, 2 do
          if event.owners[j] == owner and not event.quarantined[j] then
            event.owners[j] = call('HGET', index_key(claims[j + 1]), claims[j + 1])
          end
        end
      end
    end
  end
end

-- The strongest claim of a redelivered event whose owner is in the union; nil: all owners were erased since.
local function first_owned(union, event)
  for i = 1, #event.claims, 2 do
    if event.owners[i] and union.members[event.owners[i]] then return i end
  end
end

-- The candidate of an event for a new profile. Where an identifier has expired, the event may have made a profile before,
-- of the id that it has as a candidate.
local function candidate_of(event, union)
  for _, i in ipairs(union.unowned) do
    if event.expired[i] then return derived_id(event.candidate .. event.expired[i]) end
  end
  return event.candidate
end

-- Resolve an event that may change who is who, or that may belong to a former owner.
local function resolve_in_full(event)
  if read_former_owners(event) then return 1 end
  if not event.redelivered then quarantine_shared_devices(event) end
  local union, owners = decide(event), event.owners
  if not union.anchor then return {'', 0, false, union.refused, version} end
  local before = event.redelivered and first_owned(union, event)
  if before then
    -- All changes were made the first time. What was refused then stays refused, even if there is room now.
    local p = load_summary(profile(owners[before]))
    local anchor = event.former_anchors[before] or anchor_of(p, event.claims[before + 1])
    return {p.id, anchor, false, #union.refused > 0 and union.refused or false, version}
  end
  local p, merged = union.profiles[1], nil
  for i = 2, #union.profiles do
    if prevails(union.profiles[i], p) then p = union.profiles[i] end
  end
  local created = not p
  p = p or create_profile(candidate_of(event, union))
  for _, one in ipairs(union.evictions) do
    move(one.from, one.identifier_hash, nil, event.time, event, 'oldest')
    if one.from ~= p then save(one.from, {}) end
  end
  for _, other in ipairs(union.profiles) do
    if other ~= p then
      merge(p, other, event)
      merged = merged or {}
      merged[#merged + 1] = other.id
    end
  end
  for _, one in ipairs(outside(union, union.transfers)) do
    move(one[2], event.claims[one[1] + 1], p, event.time, event, 'last_login')
    save(one[2], {})
  end
  local changed = merged or #union.unowned + #union.transfers + #union.evictions > 0
  -- A merge leaves the winner's `first` as it is: else the order of links would choose the next winner.
  if changed and not merged then p.first = math.min(p.first, event.occurred) end
  if changed then bind(p, union, event, created) else lower_first_seen(p, event.occurred) end
  local moving = outside(union, union.to_new_profile)
  if #moving > 0 then move_to_new_profile(event, moving, event.time, 'new_anonymous', true) end
  log_refusals(p, union, event)
  local anchor = event.former_anchors[union.anchor]
    or (p.history_before_ms > 0 and anchor_of(p, event.claims[union.anchor + 1]))
  if event.signed_out then sign_out(p, union, event) end
  return {p.id, anchor or union.anchor, merged or false, #union.refused > 0 and union.refused or false, version}
end

local keys, origins, received, occurred, signed_out, counts, all_claims = unpack(cmsgpack.unpack(ARGV[3]))
local version_before = version

-- What only an event that changes something needs is read when the first of them asks.
local ids
local function id_of(number)
  ids = ids or cmsgpack.unpack(ARGV[4])
  return ids[number]
end

-- Resolve an event by the claims from `from` to `to` of all claims. Most events have identifiers of one profile only and
-- change nothing: these are answered without a table of their own, and while nothing has changed, by the profile alone.
local function resolve(number, from, to, redelivered)
  local happened, arrived = occurred[number], received[number]
  local time = happened < arrived and happened or arrived
  local wants_out = signed_out[number] and policy.sign_out
  local first, owners = nil, from + 1 < to and {}
  local same = not wants_out
  for i = from, to, 2 do
    local identifier_hash = all_claims[i + 1]
    local owner = call('HGET', index_key(identifier_hash), identifier_hash)
    first = first or owner
    if owners then owners[i - from + 1] = owner end
    same = same and owner and owner == first
  end
  if same and #first == 16 then
    local p = profile(first)
    if not p.first then read_times(p, call('HGET', p.key, 'f')) end
    if time >= p.history_before_ms then
      if not redelivered and happened < p.first then lower_first_seen(p, happened) end
      if p.history_before_ms == 0 and version == version_before then return first end
      local anchor = p.history_before_ms > 0 and anchor_of(p, all_claims[from + 1]) or 1
      return {first, anchor, false, false, version}
    end
  end
  local claims = {}
  for i = from, to do claims[i - from + 1] = all_claims[i] end
  return resolve_in_full({
    id = id_of(number), candidate = string.sub(ARGV[5], 16 * number - 15, 16 * number), occurred = happened,
    time = time, claims = claims, owners = owners or {first}, signed_out = wants_out, redelivered = redelivered,
    pasts = NONE, former_anchors = NONE, quarantined = NONE, expired = NONE,
  })
end

local answers, new_marks, from = {version_before}, {}, 1
local marks, homes = seen_find(prefix, keys, received)
for number, key in ipairs(keys) do
  local origin, to = origins[number], from + counts[number] - 1
  local mark = marks[key]
  if mark and string.sub(mark, 1, 8) ~= string.sub(origin, 1, 8) then
    answers[number + 1] = seen_conflict(mark, origin) and 2 or 0
  else
    if not mark then marks[key], new_marks[key] = origin, origin end
    answers[number + 1] = to > from and resolve(number, from, to, mark and true)
  end
  from = to + 1
end
seen_write(homes, new_marks)
close_log()
return cmsgpack.pack(answers)
