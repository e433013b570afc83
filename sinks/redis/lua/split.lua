-- Splits identifiers off a profile into a new one, and separates the two: no event merges them again. Put after
-- identity.lua and leave.lua.
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
    if not is_owned(owner) then return nil, {'unowned', identifier_hash} end
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
  local target = create_profile(ARGV[4])
  split_off(found.source, found.members, found.leaving, target, token)
  local evidence = cmsgpack.unpack(ARGV[6])
  write_log('split', target.id, found.source.id, found.moved, {id = evidence[1], occurred = evidence[2]}, 'unmerge')
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
