-- Erases the person who has an identifier, so that nothing that happened until then brings them back. Put after
-- identity.lua.   ARGV 3: leaf; 4: time up to which events are suppressed (ms).
-- Answers MessagePack: {profile, {former id, …}, anchors {anchor, type, …}, time (ms), version}; '' when nobody has
-- the identifier. Asked again it answers the same, also when the person has come back meanwhile.
local leaf, at = ARGV[3], tonumber(ARGV[4])

local past = past_of(leaf)
if past and past[3] and past[1] >= at then
  local before = call('GET', prefix .. 'erased:' .. text(past[3]))
  if before then return before end
end
local owner = call('HGET', bucket(leaf), leaf)
if not owner or #owner < 16 then return '' end

local p = profile(string.sub(owner, 1, 16))
local found = read_members(p)
local anchors = found.left -- what is recorded of those that have left is the person's too
for _, one in ipairs(found.leaves) do
  local name, was = found.types[one], past_of(one) or {0, {}}
  write_past(one, {math.max(was[1], at), was[2], p.id})
  call('HDEL', bucket(one), one)
  call('ZREM', prefix .. 'identity:refusals', one .. name)
  anchors[#anchors + 1], anchors[#anchors + 2] = found.anchors[one] or one, name
end
call('DEL', p.key)
for _, id in ipairs(found.former) do call('SET', prefix .. 'alias:' .. text(id), '!') end
call('SET', prefix .. 'alias:' .. p.name, '!')
write_log('erase', p.id, '', anchors, {id = '', occurred = at}, 'request')
close_log()
local answer = cmsgpack.pack({p.id, found.former, anchors, at, version})
call('SET', prefix .. 'erased:' .. p.name, answer, 'EX', ERASED_S)
return answer
