-- Stores a fact about a product and answers with its former value.
-- KEYS: the product's hash.   ARGV: name of the fact, value, event id, time of the event in ms.
-- The event that set the present value gets its answer again. Answer: the value before, or nil.
local key, name, value, event, at = KEYS[1], ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local known = redis.call('HMGET', key, name, name .. ':event', name .. ':at', name .. ':before')
if known[2] == event then return known[4] end
if known[3] and tonumber(known[3]) > at then return false end
redis.call('HSET', key, name, value, name .. ':event', event, name .. ':at', ARGV[4])
if known[1] then redis.call('HSET', key, name .. ':before', known[1]) end
redis.call('EXPIRE', key, 365 * 86400)
return known[1]
