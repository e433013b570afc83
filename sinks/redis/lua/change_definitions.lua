-- Changes what is in force, in one step, if nobody else has changed it meanwhile.
-- KEYS: `definitions` (hash). ARGV: prefix `{namespace}:`, expected number, new number, version, bundle or '',
--   then field, value, … for the hash; the fields of journeys are `journey:<name>`.
-- Answer: 1, or 0 when the number is another one.
local key, prefix, expected, number, version, bundle = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local KEPT_S = 86400 -- of a bundle that is no longer in force: a worker may still be reading it
if (redis.call('HGET', key, 'number') or '0') ~= expected then return 0 end
local former = redis.call('HGET', key, 'version') or ''
if bundle ~= '' then redis.call('SET', prefix .. 'definitions:' .. version, bundle) end
if former ~= '' and former ~= version then redis.call('EXPIRE', prefix .. 'definitions:' .. former, KEPT_S) end
redis.call('HSET', key, 'number', number, 'version', version)
for n = 6, #ARGV, 2 do redis.call('HSET', key, ARGV[n], ARGV[n + 1]) end
return 1
