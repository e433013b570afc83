-- Removes relayed entries from the identity log if the caller still has the lease: a relay that was paused past its
-- lease must not remove what its successor has yet to send.
-- KEYS: log, lease.   ARGV: token, first id to keep.   Answers 1 when trimmed, 0 when the lease was lost.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('XTRIM', KEYS[1], 'MINID', '=', ARGV[2])
return 1
