-- Stores a decision of a slot and the records that follow from it, unless something has changed since it was read.
-- KEYS: slots:<profile>, shown:<profile>, outbox, gone:<profile>.
-- ARGV: SHA-1 of the two values that were read, with a line end between them (empty: there was none); the new value of
-- the first key (empty: it is deleted) and its life in ms, the same of the second; the most records that may wait in the
-- outbox; then topic, key and value of each record.
-- Answers 1: stored; 0: changed since, to be read again; -1: the person was erased or merged; -2: too many records wait.
if redis.call('EXISTS', KEYS[4]) == 1 then return -1 end
local known = (redis.call('GET', KEYS[1]) or '') .. '\n' .. (redis.call('GET', KEYS[2]) or '')
if redis.sha1hex(known) ~= ARGV[1] then return 0 end
if redis.call('XLEN', KEYS[3]) >= tonumber(ARGV[6]) then return -2 end
if ARGV[2] == '' then redis.call('DEL', KEYS[1]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
redis.call('SET', KEYS[2], ARGV[4], 'PX', ARGV[5])
for index = 7, #ARGV, 3 do
  redis.call('XADD', KEYS[3], '*', 't', ARGV[index], 'k', ARGV[index + 1], 'v', ARGV[index + 2])
end
return 1
