-- Resolves events to profiles, in order, in one atomic step. Put after identity.lua, moves.lua, decide.lua and
-- seen.lua.
-- ARGV 3: events.
--
-- An event is a union in the making: its identifiers are walked from the strongest to the weakest, each brings itself
-- (nobody has it yet) or the profile that has it, and what would break a limit stays out, alone. Nothing is written
-- before the whole event is decided, because a failing script is not rolled back. A redelivery changes nothing.
-- Answers MessagePack, one entry an event: 0 = duplicate, 1 = suppressed, false = nobody, otherwise {profile | '',
-- anchor: its index in claims or itself, profiles merged into it | false, refusals {index in claims, rule} | false,
-- version}.
local REFUSALS_LOGGED = 100 -- of one profile: a shared or runaway device must not flood the log

-- Note the new leaves in the index and in the profile.
local function bind(p, union, event, minted)
  local claims, fields, anchors = event.claims, {}, {}
  for number, i in ipairs(union.fresh) do
    local name, leaf, anchor, past = claims[i], claims[i + 1], claims[i + 1], event.pasts[i]
    if past then
      anchor = derived(leaf .. string.format('%.0f', next_version()) .. number)
      fields[#fields + 1], fields[#fields + 2] = '>' .. leaf, anchor
      p.look_back = math.max(p.look_back, past[1] + 1, past[2][#past[2] - 2] or 0)
    end
    point(leaf, p.id)
    fields[#fields + 1], fields[#fields + 2] = '@' .. leaf, dated(name, event.time)
    anchors[#anchors + 1], anchors[#anchors + 2] = anchor, name
    p.n, p.counts[name] = p.n + 1, (p.counts[name] or 0) + 1
  end
  save(p, fields)
  if #anchors > 0 then write_log('bind', p.id, '', anchors, event, minted and 'new' or 'attach') end
end

-- Those of some claims whose profiles did not come into the union by a weaker claim after all.
local function apart(union, some)
  local found = {}
  for _, one in ipairs(some) do
    if not union.members[one[2].id] then found[#found + 1] = one end
  end
  return found
end

-- Give some claims to a fresh profile: {index, profile that has it} each.
local function part(event, parted, until_ms, rule, nobodys)
  local z = mint(derived(event.candidate .. rule))
  z.first, z.nobodys = event.occurred, nobodys or false
  for _, one in ipairs(parted) do
    move(one[2], event.claims[one[1] + 1], z, until_ms, event, rule)
    save(one[2], {})
  end
  save(z, {})
end

-- Who signs out leaves what is no login to whoever comes next. The event itself was still the person's.
local function sign_out(p, union, event)
  local parted, refused = {}, {}
  for _, refusal in ipairs(union.refused) do refused[refusal[1]] = true end
  for i = 1, #event.claims, 2 do
    if not (refused[i] or event.then_[i] or rule_of(event.claims[i]).known) then parted[#parted + 1] = {i, p} end
  end
  if #parted > 0 and is_known(p.counts) then part(event, parted, event.time + 1, 'sign_out') end
end

local function log_refusals(p, union, event)
  for _, refusal in ipairs(union.refused) do
    local i, rule = refusal[1], refusal[2]
    local name, leaf, owner = event.claims[i], event.claims[i + 1], event.owners[i]
    if rule ~= 'quarantined' and p.refused < REFUSALS_LOGGED and call('HSETNX', p.key, '!' .. leaf, 1) == 1 then
      local has = call('HGET', bucket(leaf), leaf)
      has = has and weigh(profile(has))
      p.refused = p.refused + 1
      save(p, {})
      local anchor = event.then_[i] or has and anchor_of(has, leaf) or leaf
      write_log('refuse', p.id, owner or '', {anchor, name}, event, rule)
      if not event.then_[i] then count_refusal(leaf, name, has, event) end
    end
  end
end

-- A warm profile costs no write, unless the event is older than all that were seen of it.
local function touch(p, occurred)
  if occurred < p.first then
    p.first = occurred
    call('HSET', p.key, 'f', write_times(p))
  end
end

-- Ask what was before: of identifiers that nobody has, and for events from before others got theirs. Such an event
-- belongs to whoever had the identifier then. Answers true when the event is of a person who was erased since.
local function look_back(event)
  local claims, owners = event.claims, event.owners
  for i = 1, #claims, 2 do
    local owner, past = owners[i], nil
    if owner and #owner ~= 16 then
      if event.out == NONE then event.out = {} end
      event.out[i] = true
      owner = #owner > 16 and string.sub(owner, 1, 16) or false
      owners[i] = owner
    end
    if not owner or event.time < weigh(profile(owner)).look_back then past = past_of(claims[i + 1]) end
    if past then
      if event.pasts == NONE then event.pasts, event.then_ = {}, {} end
      event.pasts[i] = past
      if past[1] > 0 and event.time <= past[1] then return true end
      for at = 1, #past[2], 3 do
        -- What comes once more is of whoever had the identifier last, if nobody has it now.
        local last = event.again and not owner and at == #past[2] - 2
        if last or event.time < past[2][at] then
          local id = text(past[2][at + 1])
          local onward = call('GET', prefix .. 'alias:' .. id)
          while onward and onward ~= '!' do
            id = onward
            onward = call('GET', prefix .. 'alias:' .. id)
          end
          if onward then return true end
          owners[i], event.then_[i] = raw(id), past[2][at + 2]
          break
        end
      end
    end
  end
  return false
end

-- The strongest claim of an event that came before whose owner is in the union; nil: all were erased since.
local function first_owned(union, event)
  for i = 1, #event.claims, 2 do
    if event.owners[i] and union.members[event.owners[i]] then return i end
  end
end

-- Resolve an event that is more than one more of somebody's.
local function resolve_anew(event)
  if look_back(event) then return 1 end
  local union, owners = decide(event), event.owners
  if not union.anchor then return {'', 0, false, union.refused, version} end
  local before = event.again and first_owned(union, event)
  if before then
    -- All that follows from it was done the first time. What was refused then stays so, even if there is room now.
    local p = weigh(profile(owners[before]))
    local anchor = event.then_[before] or anchor_of(p, event.claims[before + 1])
    return {p.id, anchor, false, #union.refused > 0 and union.refused or false, version}
  end
  local p, merged = union.profiles[1], nil
  for i = 2, #union.profiles do
    if prevails(union.profiles[i], p) then p = union.profiles[i] end
  end
  local minted = not p
  p = p or mint(event.candidate)
  for _, one in ipairs(union.leaving) do
    move(one.from, one.leaf, nil, event.time, event, 'oldest')
    if one.from ~= p then save(one.from, {}) end
  end
  for _, other in ipairs(union.profiles) do
    if other ~= p then
      merge(p, other, event)
      merged = merged or {}
      merged[#merged + 1] = other.id
    end
  end
  for _, one in ipairs(apart(union, union.taken)) do
    move(one[2], event.claims[one[1] + 1], p, event.time, event, 'last_login')
    save(one[2], {})
  end
  local changed = merged or #union.fresh + #union.taken + #union.leaving > 0
  -- A link is as old as its event, not the profile that goes on: else the order of links would choose the next winner.
  if changed and not merged then p.first = math.min(p.first, event.occurred) end
  if changed then bind(p, union, event, minted) else touch(p, event.occurred) end
  local parted = apart(union, union.parted)
  if #parted > 0 then part(event, parted, event.time, 'new_anonymous', true) end
  log_refusals(p, union, event)
  local anchor = event.then_[union.anchor] or (p.look_back > 0 and anchor_of(p, event.claims[union.anchor + 1]))
  if event.signed_out then sign_out(p, union, event) end
  return {p.id, anchor or union.anchor, merged or false, #union.refused > 0 and union.refused or false, version}
end

-- Most events are one more of somebody's: they need no table of their own.
local function resolve(packed, again)
  local claims, owners, occurred = packed[7], {}, packed[5]
  local first, time = nil, math.min(occurred, packed[4])
  local signed_out = packed[8] and policy.sign_out
  local same = not signed_out
  for i = 1, #claims, 2 do
    local owner = call('HGET', bucket(claims[i + 1]), claims[i + 1])
    first = first or owner
    owners[i] = owner
    same = same and owner and owner == first
  end
  if same and #first == 16 then
    local p = profile(first)
    if not p.first then read_times(p, call('HGET', p.key, 'f')) end
    if time >= p.look_back then
      if not again then touch(p, occurred) end
      return {first, p.look_back > 0 and anchor_of(p, claims[2]) or 1, false, false, version}
    end
  end
  return resolve_anew({
    id = packed[1], candidate = packed[6], occurred = occurred, time = time, claims = claims, owners = owners,
    signed_out = signed_out, again = again, pasts = NONE, then_ = NONE, out = NONE,
  })
end

local answers, events, fresh = {}, cmsgpack.unpack(ARGV[3]), {}
local marks, homes = seen_find(prefix, events, 2, 4)
for number, packed in ipairs(events) do
  local key, origin = packed[2], packed[3]
  local mark = marks[key]
  if mark and string.sub(mark, 1, 8) ~= origin then
    answers[number] = 0
  else
    if not mark then marks[key], fresh[key] = origin, origin end
    answers[number] = #packed[7] > 0 and resolve(packed, mark and true)
  end
end
seen_write(homes, fresh)
close_log()
return cmsgpack.pack(answers)
