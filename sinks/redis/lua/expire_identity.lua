-- Lets anonymous profiles expire. One stays that has a known identifier, or whose story somebody may still ask for: it was
-- split, an identifier of it is quarantined or has passed to another profile, or it has yet to absorb others. Put after
-- identity.lua and leave.lua.
-- ARGV 3: profile ids, 16 bytes each, MessagePack; 4: the time (ms); 5: when they may have been seen first at the latest.
-- Answers a list: '1' for each that is not there any more, '0' for one that stays.
local at, latest, answers = tonumber(ARGV[4]), tonumber(ARGV[5]), {}

if call('EXISTS', prefix .. 'people') == 0 then return redis.error_reply('LOSTPEOPLE ' .. LOST_PEOPLE) end

local function stays(p)
  load_summary(p)
  for id_type, count in pairs(p.counts) do
    if count > 0 and rule_of(id_type).known then return true end
  end
  return p.first > latest or next(p.separations) or call('EXISTS', prefix .. 'absorb:' .. p.uuid) == 1
end

local function expire(p)
  local found, anchors = read_members(p), {}
  if #found.left > 0 or next(found.quarantined) then return '0' end
  for _, member in ipairs(found.identifier_hashes) do
    anchors[#anchors + 1], anchors[#anchors + 2] = found.anchors[member] or member, found.types[member]
  end
  write_log('expire', p.id, '', anchors, {id = '', occurred = at}, 'retention')
  expire_identity(p, found)
  return '1'
end

for place, id in ipairs(cmsgpack.unpack(ARGV[3])) do
  local p = profile(id)
  if call('EXISTS', p.key) == 0 then
    answers[place] = '1'
  else
    answers[place] = stays(p) and '0' or expire(p)
  end
end
close_log()
return answers
