-- Takes identifiers out of a profile into a new one, and keeps the two apart from now on. Put after identity.lua.
-- ARGV 3: token of the operation (16 bytes); 4: candidate for the new profile's id; 5: leaves, MessagePack;
-- 6: evidence, MessagePack {operation, time (ms)}; 7: '1' = only say what would happen.
-- Answers MessagePack: {source, new profile | '', moved {anchor, type, …}, stayed {anchor, type, …}, version}, or
-- {what is wrong, leaf}.
local token, leaves, only_say = ARGV[3], cmsgpack.unpack(ARGV[5]), ARGV[7] == '1'
local done = prefix .. 'split:' .. text(token)

local function plan()
  local source, leaving = nil, {}
  for _, leaf in ipairs(leaves) do
    local owner = call('HGET', bucket(leaf), leaf)
    if not owner or #owner < 16 then return nil, {'nobody', leaf} end
    owner = string.sub(owner, 1, 16)
    if source and owner ~= source.id then return nil, {'two profiles', leaf} end
    source, leaving[leaf] = source or weigh(profile(owner)), true
  end
  local members, moved, stayed = read_members(source), {}, {}
  for _, leaf in ipairs(members.leaves) do
    local part = leaving[leaf] and moved or stayed
    part[#part + 1], part[#part + 2] = members.anchors[leaf] or leaf, members.types[leaf]
  end
  if #stayed == 0 then return nil, {'all', leaves[1]} end
  return {source = source, leaving = leaving, members = members, moved = moved, stayed = stayed}
end

local function carry_out(found)
  local source, members, target, fields, gone = found.source, found.members, mint(ARGV[4]), {}, {}
  for leaf in pairs(found.leaving) do
    local name = members.types[leaf]
    point(leaf, target.id, members.quarantined[leaf])
    fields[#fields + 1], fields[#fields + 2] = '@' .. leaf, members.values[leaf]
    if members.anchors[leaf] then fields[#fields + 1], fields[#fields + 2] = '>' .. leaf, members.anchors[leaf] end
    if members.quarantined[leaf] then fields[#fields + 1], fields[#fields + 2] = '?' .. leaf, 1 end
    for _, mark in ipairs({'@', '>', '?', '!'}) do gone[#gone + 1] = mark .. leaf end
    target.n, target.counts[name] = target.n + 1, (target.counts[name] or 0) + 1
    source.n = source.n - 1
    source.counts[name] = source.counts[name] - 1
  end
  for from = 1, #gone, PAIRS do
    call('HDEL', source.key, unpack(gone, from, math.min(from + PAIRS - 1, #gone)))
  end
  -- When each part was first seen is not kept: both may be as old as the whole.
  target.first, target.look_back, target.nobodys = source.first, source.look_back, source.nobodys
  for known, side in pairs(source.tokens) do target.tokens[known] = side end
  source.tokens[token], target.tokens[token] = '0', '1'
  save(source, {})
  save(target, fields)
  local evidence = cmsgpack.unpack(ARGV[6])
  write_log('split', target.id, source.id, found.moved, {id = evidence[1], occurred = evidence[2]}, 'unmerge')
  close_log()
  return target.id
end

local before = not only_say and call('GET', done)
if before then return before end
local found, wrong = plan()
if wrong then return cmsgpack.pack(wrong) end
local target = only_say and '' or carry_out(found)
local answer = cmsgpack.pack({found.source.id, target, found.moved, found.stayed, version})
if not only_say then call('SET', done, answer, 'EX', ERASED_S) end
return answer
