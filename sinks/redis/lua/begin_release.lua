-- Takes people whose runs a pause has held out of the list of the held, into the list of those who are being released.
-- KEYS: `held:<journey>` and `released:<journey>` of a shard.   ARGV: the most people of one call.
-- Answer: who is to be released, those of a call that broke off among them.
local found = redis.call('SPOP', KEYS[1], ARGV[1])
if #found > 0 then redis.call('SADD', KEYS[2], unpack(found)) end
return redis.call('SMEMBERS', KEYS[2])
