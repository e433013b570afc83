-- Ends the quarantine of an identifier and deletes its count of refusals. Put after identity.lua.
-- ARGV 3: identifier hash.   Answers 1, or 0 when it was not quarantined.
local identifier_hash = ARGV[3]
local owner = call('HGET', index_key(identifier_hash), identifier_hash)
if not owner or #owner % 16 ~= 1 then return 0 end
for _, member in ipairs(call('ZRANGE', prefix .. 'identity:refusals', 0, -1)) do
  if string.sub(member, 1, 16) == identifier_hash then call('ZREM', prefix .. 'identity:refusals', member) end
end
if #owner == 1 then
  call('HDEL', index_key(identifier_hash), identifier_hash)
else
  set_owner(identifier_hash, string.sub(owner, 1, 16))
  call('HDEL', profile(string.sub(owner, 1, 16)).key, '?' .. identifier_hash)
end
return 1
