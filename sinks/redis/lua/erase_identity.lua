-- Erases the identity of the person who has an identifier, and suppresses their events up to a time. Put after
-- identity.lua.   ARGV 3: identifier hash; 4: time up to which events are suppressed (ms).
-- Answers MessagePack: {profile, {former id, …}, anchors {anchor, type, …}, time (ms), version}; '' when the identifier
-- has no owner. A repeated call answers the same, also when the person has come back meanwhile.
local identifier_hash, at = ARGV[3], tonumber(ARGV[4])

local past = past_of(identifier_hash)
if past and past[3] and past[1] >= at then
  local before = call('GET', prefix .. 'erased:' .. uuid_text(past[3]))
  if before then return before end
end
local owner = call('HGET', index_key(identifier_hash), identifier_hash)
if not owner or #owner < 16 then return '' end

local p = profile(string.sub(owner, 1, 16))
local found = read_members(p)
local anchors = found.left -- events recorded under identifiers that have left are the person's too
for _, member in ipairs(found.identifier_hashes) do
  local id_type, was = found.types[member], past_of(member) or {0, {}}
  write_past(member, {math.max(was[1], at), was[2], p.id})
  call('HDEL', index_key(member), member)
  call('ZREM', prefix .. 'identity:refusals', member .. id_type)
  anchors[#anchors + 1], anchors[#anchors + 2] = found.anchors[member] or member, id_type
end
call('DEL', p.key)
for _, id in ipairs(found.former) do call('SET', prefix .. 'alias:' .. uuid_text(id), '!') end
call('SET', prefix .. 'alias:' .. p.uuid, '!')
write_log('erase', p.id, '', anchors, {id = '', occurred = at}, 'request')
close_log()
local answer = cmsgpack.pack({p.id, found.former, anchors, at, version})
call('SET', prefix .. 'erased:' .. p.uuid, answer, 'EX', ERASED_S)
return answer
