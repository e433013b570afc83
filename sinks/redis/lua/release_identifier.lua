-- Ends the quarantine of an identifier and deletes its count of refusals. Put after identity.lua and leave.lua.
-- ARGV 3: identifier hash.   Answers 1, or 0 when it was not quarantined.
local identifier_hash = ARGV[3]
local owner = call('HGET', index_key(identifier_hash), identifier_hash)
if not is_quarantined(owner) then return 0 end
local p, id_type = release(identifier_hash, owner)
local anchor = p and anchor_of(load_summary(p), identifier_hash) or identifier_hash
local at = math.floor(now_us / 1000)
write_log('release', p and p.id or '', '', {anchor, id_type}, {id = '', occurred = at}, 'request')
close_log()
return 1
