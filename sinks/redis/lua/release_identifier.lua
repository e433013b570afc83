-- Lets a quarantined identifier take part again; its refusals are counted anew. Put after identity.lua.
-- ARGV 3: leaf.   Answers 1, or 0 when it was not in quarantine.
local leaf = ARGV[3]
local owner = call('HGET', bucket(leaf), leaf)
if not owner or #owner % 16 ~= 1 then return 0 end
for _, member in ipairs(call('ZRANGE', prefix .. 'identity:refusals', 0, -1)) do
  if string.sub(member, 1, 16) == leaf then call('ZREM', prefix .. 'identity:refusals', member) end
end
if #owner == 1 then
  call('HDEL', bucket(leaf), leaf)
else
  point(leaf, string.sub(owner, 1, 16))
  call('HDEL', profile(string.sub(owner, 1, 16)).key, '?' .. leaf)
end
return 1
