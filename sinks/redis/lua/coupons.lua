-- One step of the coupon pools: add, take or taken. sinks/redis/coupons.py describes the keys.
-- ARGV: prefix, step, then what the step needs. Times are milliseconds since 1970; a code without an end ends at 'inf'.
local prefix, step = ARGV[1], ARGV[2]
local call = redis.call

if step == 'add' then
  -- pool, msgpack of (code, its form for comparison, end). Answer: codes added, known in the pool, and of another pool.
  local pool, added, known, elsewhere = ARGV[3], 0, 0, {}
  for _, one in ipairs(cmsgpack.unpack(ARGV[4])) do
    if call('HSETNX', prefix .. 'coupon_codes', one[2], pool) == 1 then
      call('ZADD', prefix .. 'coupons:' .. pool, one[3], one[1])
      added = added + 1
    elseif call('HGET', prefix .. 'coupon_codes', one[2]) == pool then
      call('ZADD', prefix .. 'coupons:' .. pool, 'XX', one[3], one[1])
      known = known + 1
    else
      elsewhere[#elsewhere + 1] = one[1]
    end
  end
  return {added, known, elsewhere}
end

-- take: key of the message, pool, now, longest validity from now (0: none), life of the answer.
-- taken: key of the message. Answer: code, when it was taken, its end (0: none); or nothing.
local kept = prefix .. 'coupon_taken:' .. ARGV[3]
local answer = call('HMGET', kept, 'code', 'at', 'ends')
if answer[1] then return answer end
if step == 'taken' then return {} end
local pool, now, valid = prefix .. 'coupons:' .. ARGV[4], ARGV[5], tonumber(ARGV[6])
local found = call('ZRANGEBYSCORE', pool, '(' .. now, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
if not found[1] then return {} end
local ends = found[2] == 'inf' and 0 or tonumber(found[2])
if valid > 0 and (ends == 0 or tonumber(now) + valid < ends) then ends = tonumber(now) + valid end
local written = string.format('%.0f', ends)
call('ZREM', pool, found[1])
call('HSET', kept, 'code', found[1], 'at', now, 'ends', written)
call('PEXPIRE', kept, ARGV[7])
return {found[1], now, written}
