-- Splits identifiers off a profile into a new one, and separates the two: no event merges them again. Put after
-- identity.lua.
-- ARGV 3: token of the operation (16 bytes); 4: candidate for the new profile's id; 5: identifier hashes, MessagePack;
-- 6: evidence, MessagePack {operation, time (ms)}; 7: '1' = preview, which writes nothing.
-- Answers MessagePack: {source, new profile | '', moved {anchor, type, …}, stayed {anchor, type, …}, version}, or
-- {error, identifier hash}. A repeated token answers the same again.
local token, identifier_hashes, preview = ARGV[3], cmsgpack.unpack(ARGV[5]), ARGV[7] == '1'
local done = prefix .. 'split:' .. uuid_text(token)

local function plan()
  local source, leaving = nil, {}
  for _, identifier_hash in ipairs(identifier_hashes) do
    local owner = call('HGET', index_key(identifier_hash), identifier_hash)
    if not owner or #owner < 16 then return nil, {'unowned', identifier_hash} end
    owner = string.sub(owner, 1, 16)
    if source and owner ~= source.id then return nil, {'two profiles', identifier_hash} end
    source, leaving[identifier_hash] = source or load_summary(profile(owner)), true
  end
  local members, moved, stayed = read_members(source), {}, {}
  for _, identifier_hash in ipairs(members.identifier_hashes) do
    local part = leaving[identifier_hash] and moved or stayed
    part[#part + 1] = members.anchors[identifier_hash] or identifier_hash
    part[#part + 1] = members.types[identifier_hash]
  end
  if #stayed == 0 then return nil, {'all', identifier_hashes[1]} end
  return {source = source, leaving = leaving, members = members, moved = moved, stayed = stayed}
end

local function execute(found)
  local source, members, target, fields, gone = found.source, found.members, create_profile(ARGV[4]), {}, {}
  for identifier_hash in pairs(found.leaving) do
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
  local evidence = cmsgpack.unpack(ARGV[6])
  write_log('split', target.id, source.id, found.moved, {id = evidence[1], occurred = evidence[2]}, 'unmerge')
  close_log()
  return target.id
end

local before = not preview and call('GET', done)
if before then return before end
local found, failure = plan()
if failure then return cmsgpack.pack(failure) end
local target = preview and '' or execute(found)
local answer = cmsgpack.pack({found.source.id, target, found.moved, found.stayed, version})
if not preview then call('SET', done, answer, 'EX', ERASED_S) end
return answer
