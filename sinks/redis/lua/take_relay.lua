-- Takes or renews the lease of the identity log's one relay.   KEYS: lease.   ARGV: token, time to live in ms.
-- Answers 1 when the token has the lease, 0 while another has it.
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
