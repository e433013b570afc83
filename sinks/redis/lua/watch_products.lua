-- Notes that people watch products; an erased person watches nothing.
-- KEYS: a key that names the slot.   ARGV: prefix `{namespace}:`; msgpack [product, profile id, time in ms, …].
local prefix, looks, call = ARGV[1], cmsgpack.unpack(ARGV[2]), redis.call
local MAX_WATCHERS = 10000   -- of one product: the last to look at it
local WATCHED_S = 90 * 86400 -- since the last look at the product
for index = 1, #looks, 3 do
  local product, profile_id, at = looks[index], looks[index + 1], looks[index + 2]
  if call('GET', prefix .. 'alias:' .. profile_id) ~= '!' then
    local key = prefix .. 'watch:' .. product
    call('ZADD', key, at, profile_id)
    call('ZREMRANGEBYRANK', key, 0, -MAX_WATCHERS - 1)
    call('EXPIRE', key, WATCHED_S)
  end
end
return 0
