-- Decides on an event without writing: which profiles merge, which identifiers are bound, transferred or evicted, and
-- which are refused. Put after moves.lua, before resolve.lua.
--
-- A union collects what the event joins: the profiles and unowned identifiers of its claims, with the counts that the
-- limits are checked against. A claim is its index in event.claims (type, identifier hash, …).

local NONE = {} -- stands for a list that most events leave empty: never written to
local function push(list, value)
  if list == NONE then return {value} end
  list[#list + 1] = value
  return list
end

local function is_known(counts)
  for id_type, count in pairs(counts) do
    if count > 0 and rule_of(id_type).known then return true end
  end
  return false
end

-- Whether profile a wins a merge with b: known before anonymous, then first seen earlier, then the smaller id. The
-- order of events makes no difference.
local function prevails(a, b)
  local a_known, b_known = is_known(a.counts), is_known(b.counts)
  if a_known ~= b_known then return a_known end
  if a.first ~= b.first then return a.first < b.first end
  return a.uuid < b.uuid
end

-- The rule that adding a profile (or one unowned identifier: p = nil) with n identifiers, counted by type, to the union
-- would break; for 'limit' also the excess of each type. A profile that is over a limit because the policy has changed
-- stays usable: only a link that adds to a count can break it.
local function violated_rule(union, p, n, counts)
  for token, side in pairs(p and p.separations or NONE) do
    if (union.separations[token] or side) ~= side then return 'separated' end
  end
  if (p and p.shared and is_known(union.counts)) or (union.shared and is_known(counts)) then return 'shared' end
  local over
  for id_type, count in pairs(counts) do
    local there = union.counts[id_type] or 0
    local excess = there + count - rule_of(id_type).limit
    if there > 0 and excess > 0 then
      over = over or {}
      over[id_type] = excess
    end
  end
  if over then return 'limit', over end
  if union.n > 0 and union.n + n > policy.cap then return 'cap' end
end

-- The identifiers of one type that may be evicted from these profiles, oldest first. `kept`: identifier hash -> true.
local function oldest(owners, id_type, kept)
  local found = {}
  for _, p in ipairs(owners) do
    local members = read_members(p)
    for _, identifier_hash in ipairs(members.identifier_hashes) do
      local may_leave = not (kept[identifier_hash] or members.quarantined[identifier_hash])
      if may_leave and members.types[identifier_hash] == id_type then
        found[#found + 1] = {
          identifier_hash = identifier_hash, from = p, id_type = id_type,
          since = since_of(members.values[identifier_hash]), order = uuid_text(identifier_hash),
        }
      end
    end
  end
  table.sort(found, function(a, b) return a.since < b.since or (a.since == b.since and a.order < b.order) end)
  return found
end

-- Evict the oldest identifiers of the types that are over their limit, so that profile p (or one identifier: nil) with
-- n identifiers fits into the union. Answers false, with nothing evicted, unless the policy allows all evictions.
local function make_room(union, event, p, n, over, claimed)
  local owners, leaving, types = {unpack(union.profiles)}, {}, {}
  owners[#owners + 1] = p
  local kept = union.kept or {}
  union.kept = kept
  for i = 2, #event.claims, 2 do kept[event.claims[i]] = true end
  for id_type in pairs(over) do types[#types + 1] = id_type end
  table.sort(types)
  for _, id_type in ipairs(types) do
    local rule = rule_of(id_type)
    if not rule.fifo or (rule.known and not (union.login and rule_of(claimed).known)) then return false end
    local found = oldest(owners, id_type, kept)
    if #found < over[id_type] then return false end
    for i = 1, over[id_type] do leaving[#leaving + 1] = found[i] end
  end
  if union.n + n - #leaving > policy.cap then return false end
  for _, one in ipairs(leaving) do
    kept[one.identifier_hash] = true -- it can be evicted once only
    union.evictions = push(union.evictions, one)
    union.n, union.counts[one.id_type] = union.n - 1, (union.counts[one.id_type] or 0) - 1
  end
  return true
end

-- Whether an identifier of profile p passes to the person who logs in with this event: both are known people, and the
-- policy lets the identifier's type change its owner.
local function may_take(union, event, i, p, over)
  local id_type, identifier_hash = event.claims[i], event.claims[i + 1]
  if rule_of(id_type).share == 'first_owner' or event.former_anchors[i] or not union.login then return false end
  local two_people = false
  for broken in pairs(over) do two_people = two_people or rule_of(broken).known end
  -- A late or redelivered event takes nothing back.
  return two_people and event.time > since_of(call('HGET', p.key, '@' .. identifier_hash))
end

-- Add one identifier to the union. Answers the rule that refuses it, or nil.
local function add_identifier(union, event, id_type)
  local rule, over = violated_rule(union, nil, 1, {[id_type] = 1})
  if rule == 'limit' and make_room(union, event, nil, 1, over, id_type) then rule = nil end
  if not rule then union.n, union.counts[id_type] = union.n + 1, (union.counts[id_type] or 0) + 1 end
  return rule
end

-- Add the profile that owns a claim to the union, or the claim alone. Answers the rule that refuses the claim, or nil.
local function add_owner(union, event, i, p)
  local id_type = event.claims[i]
  local rule, over = violated_rule(union, p, p.n, p.counts)
  if rule == 'limit' then
    if may_take(union, event, i, p, over) then
      if rule_of(id_type).share == 'new_anonymous' then
        union.to_new_profile = push(union.to_new_profile, {i, p})
        return rule
      end
      rule = add_identifier(union, event, id_type)
      if not rule then union.transfers = push(union.transfers, {i, p}) end
      return rule
    elseif make_room(union, event, p, p.n, over, id_type) then
      rule = nil
    end
  end
  if rule then return rule end
  union.n = union.n + p.n
  add(union.counts, p.counts)
  for token, side in pairs(p.separations) do
    if union.separations == NONE then union.separations = {} end
    union.separations[token] = side
  end
  union.shared = union.shared or p.shared
  union.members[p.id] = true
  union.profiles[#union.profiles + 1] = p
end

-- Decide on every claim of an event, from the strongest to the weakest. Fields of the union: profiles to merge and
-- their ids as a set (members); claims to bind (unowned); claims {claim, owner} to transfer or to move to a new profile;
-- identifiers to evict; refusals {claim, rule}; the claim by which the event is recorded (anchor).
local function decide(event)
  local claims, owners = event.claims, event.owners
  local union = {
    n = 0, counts = {}, separations = NONE, members = {}, profiles = {}, unowned = {}, transfers = NONE,
    to_new_profile = NONE, evictions = NONE, refused = NONE,
  }
  for i = 1, #claims, 2 do
    local id_type, owner, rule = claims[i], owners[i], nil
    if event.quarantined[i] then
      rule = 'quarantined'
    elseif not owner then
      rule = add_identifier(union, event, id_type)
      if not rule then union.unowned[#union.unowned + 1] = i end
    elseif not union.members[owner] then
      rule = add_owner(union, event, i, load_summary(profile(owner)))
    end
    if rule then
      union.refused = push(union.refused, {i, rule})
    else
      union.anchor = union.anchor or i
      union.login = union.login or rule_of(id_type).known
    end
  end
  return union
end

