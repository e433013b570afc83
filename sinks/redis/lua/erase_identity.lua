-- Erases the identity of the person who has an identifier, and suppresses their events up to a time. Put after
-- identity.lua and leave.lua.   ARGV 3: identifier hash; 4: time up to which events are suppressed (ms).
-- Answers MessagePack: {profile, {former id, …}, anchors {anchor, type, …}, time (ms), version}; '' when the identifier
-- has no owner. A repeated call answers the same, also when the person has come back meanwhile.
local identifier_hash, at = ARGV[3], tonumber(ARGV[4])

local past = past_of(identifier_hash)
if past and past[3] and past[1] >= at then
  local before = call('GET', prefix .. 'erased:' .. uuid_text(past[3]))
  if before then return before end
end
local owner = call('HGET', index_key(identifier_hash), identifier_hash)
if not is_owned(owner) then return '' end

local p = profile(string.sub(owner, 1, 16))
local anchors, found = erase_identity(p, at)
write_log('erase', p.id, '', anchors, {id = '', occurred = at}, 'request')
close_log()
return keep_erasure(p, found, anchors, at)
