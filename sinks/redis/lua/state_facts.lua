-- Stores facts about products, and answers what each has changed: the last statement by time of the event counts.
-- KEYS: the hash of recommended products, which only names the slot.
-- ARGV: prefix, msgpack of a list of (product, field, value, event, time of the event in ms).
-- Answer: of each fact a list: 0 if a later statement was known, else 1, then the value before it where one was known.
-- A field holds its last statements, the latest first, each as (time, event, value, before): an event that comes again
-- gets its answer again.
local prefix, facts = ARGV[1], cmsgpack.unpack(ARGV[2])
local STATEMENTS_KEPT, MAX_FIELDS, KEPT_S = 8, 20000, 730 * 86400
local call = redis.call

local function state(key, field, value, event, at)
  local stored = call('HGET', key, field)
  local known = stored and cmsgpack.unpack(stored) or {}
  for _, one in ipairs(known) do
    if one[2] == event then return {1, one[4]} end
  end
  local last = known[1]
  if last and (last[1] > at or (last[1] == at and last[2] > event)) then return {0} end
  if not last and call('HLEN', key) >= MAX_FIELDS then return {0} end
  local before = last and last[3] or nil
  table.insert(known, 1, {at, event, value, before})
  known[STATEMENTS_KEPT + 1] = nil
  call('HSET', key, field, cmsgpack.pack(known))
  call('EXPIRE', key, KEPT_S)
  return {1, before}
end

local answers = {}
for place, fact in ipairs(facts) do
  answers[place] = state(prefix .. 'product_facts:' .. fact[1], fact[2], fact[3], fact[4], fact[5])
end
return answers
