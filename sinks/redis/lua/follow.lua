-- Follows aliases from a profile id to the live profile, and points each alias on the way at it.
-- ARGV: '{namespace}:', profile id.   KEYS: alias of that id.   Answers the id, or '' when the profile was erased.
local prefix, id = ARGV[1], ARGV[2]
local passed = {}
local onward = redis.call('GET', KEYS[1])
while onward and onward ~= '!' do
  passed[#passed + 1] = id
  id = onward
  onward = redis.call('GET', prefix .. 'alias:' .. id)
end
for i = 1, #passed - 1 do redis.call('SET', prefix .. 'alias:' .. passed[i], id) end
return onward and '' or id
