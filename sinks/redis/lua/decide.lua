-- Decides on an event without writing: which profiles come together, which leaves are new, which pass on or make room,
-- what is refused. Put after moves.lua, before resolve.lua.

local NONE = {} -- in place of a list that most events leave empty: never written to
local function push(list, value)
  if list == NONE then return {value} end
  list[#list + 1] = value
  return list
end

local function is_known(counts)
  for name, count in pairs(counts) do
    if count > 0 and rule_of(name).known then return true end
  end
  return false
end

-- Of two profiles the one that goes on: known, then first seen earlier, then the smaller id. The same whoever asks.
local function prevails(a, b)
  local a_known, b_known = is_known(a.counts), is_known(b.counts)
  if a_known ~= b_known then return a_known end
  if a.first ~= b.first then return a.first < b.first end
  return a.name < b.name
end

-- The rule against adding a profile (or one new leaf: nil) with n identifiers, counted by type, to the union; for a
-- limit also by how much each type is over. Two parts that are over a limit of today by a policy of yesterday stay
-- usable: only a link that adds to a count can break it.
local function objection(union, p, n, counts)
  for token, side in pairs(p and p.tokens or NONE) do
    if (union.tokens[token] or side) ~= side then return 'separated' end
  end
  if (p and p.nobodys and is_known(union.counts)) or (union.nobodys and is_known(counts)) then return 'shared' end
  local over
  for name, count in pairs(counts) do
    local there = union.counts[name] or 0
    local excess = there + count - rule_of(name).limit
    if there > 0 and excess > 0 then
      over = over or {}
      over[name] = excess
    end
  end
  if over then return 'limit', over end
  if union.n > 0 and union.n + n > policy.cap then return 'cap' end
end

-- The identifiers of one type, oldest first, that may leave these profiles for an event.
local function oldest(owners, name, staying)
  local found = {}
  for _, p in ipairs(owners) do
    local members = read_members(p)
    for _, leaf in ipairs(members.leaves) do
      if members.types[leaf] == name and not (staying[leaf] or members.quarantined[leaf]) then
        local since = since_of(members.values[leaf])
        found[#found + 1] = {leaf = leaf, from = p, name = name, since = since, order = text(leaf)}
      end
    end
  end
  table.sort(found, function(a, b) return a.since < b.since or (a.since == b.since and a.order < b.order) end)
  return found
end

-- Let the oldest identifiers leave for the claim's owner (or itself: nil), if policy lets all of them.
local function make_room(union, event, p, n, over, claimed)
  local owners, leaving, names = {unpack(union.profiles)}, {}, {}
  owners[#owners + 1] = p
  local staying = union.staying or {}
  union.staying = staying
  for i = 2, #event.claims, 2 do staying[event.claims[i]] = true end
  for name in pairs(over) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    local rule = rule_of(name)
    if not rule.fifo or (rule.known and not (union.login and rule_of(claimed).known)) then return false end
    local found = oldest(owners, name, staying)
    if #found < over[name] then return false end
    for i = 1, over[name] do leaving[#leaving + 1] = found[i] end
  end
  if union.n + n - #leaving > policy.cap then return false end
  for _, one in ipairs(leaving) do
    staying[one.leaf] = true -- not twice
    union.leaving = push(union.leaving, one)
    union.n, union.counts[one.name] = union.n - 1, (union.counts[one.name] or 0) - 1
  end
  return true
end

-- Does the event's login get a transferable thing of another person?
local function may_take(union, event, i, p, over)
  local name, leaf = event.claims[i], event.claims[i + 1]
  if rule_of(name).share == 'first_owner' or event.then_[i] or not union.login then return false end
  local two_people = false
  for broken in pairs(over) do two_people = two_people or rule_of(broken).known end
  -- An event that comes late or once more takes nothing back.
  return two_people and event.time > since_of(call('HGET', p.key, '@' .. leaf))
end

-- Put a new or a taken leaf into the union, or say what is against it.
local function admit(union, event, name)
  local rule, over = objection(union, nil, 1, {[name] = 1})
  if rule == 'limit' and make_room(union, event, nil, 1, over, name) then rule = nil end
  if not rule then union.n, union.counts[name] = union.n + 1, (union.counts[name] or 0) + 1 end
  return rule
end

-- Put the profile that has a claim into the union, or the claim alone, or neither.
local function join(union, event, i, p)
  local name = event.claims[i]
  local rule, over = objection(union, p, p.n, p.counts)
  if rule == 'limit' then
    if may_take(union, event, i, p, over) then
      if rule_of(name).share == 'new_anonymous' then
        union.parted = push(union.parted, {i, p})
        return rule
      end
      rule = admit(union, event, name)
      if not rule then union.taken = push(union.taken, {i, p}) end
      return rule
    elseif make_room(union, event, p, p.n, over, name) then
      rule = nil
    end
  end
  if rule then return rule end
  union.n = union.n + p.n
  add(union.counts, p.counts)
  for token, side in pairs(p.tokens) do
    if union.tokens == NONE then union.tokens = {} end
    union.tokens[token] = side
  end
  union.nobodys = union.nobodys or p.nobodys
  union.members[p.id] = true
  union.profiles[#union.profiles + 1] = p
end

-- Decide on every claim without writing: which profiles come together, which leaves are new, what is refused.
local function decide(event)
  local claims, owners = event.claims, event.owners
  local union = {
    n = 0, counts = {}, tokens = NONE, members = {}, profiles = {}, fresh = {}, taken = NONE, parted = NONE,
    leaving = NONE, refused = NONE,
  }
  for i = 1, #claims, 2 do
    local name, owner, rule = claims[i], owners[i], nil
    if event.out[i] then
      rule = 'quarantined'
    elseif not owner then
      rule = admit(union, event, name)
      if not rule then union.fresh[#union.fresh + 1] = i end
    elseif not union.members[owner] then
      rule = join(union, event, i, weigh(profile(owner)))
    end
    if rule then
      union.refused = push(union.refused, {i, rule})
    else
      union.anchor = union.anchor or i
      union.login = union.login or rule_of(name).known
    end
  end
  return union
end

