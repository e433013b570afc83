-- Removes published entries from an outbox if the caller still holds its lease: a relay that was paused past its lease
-- must not remove entries that its successor is publishing.
-- KEYS: stream, lease.   ARGV: token, first id to keep.   Answers 1 when trimmed, 0 when the lease was lost.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('XTRIM', KEYS[1], 'MINID', '=', ARGV[2])
return 1
