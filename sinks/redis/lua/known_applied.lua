-- Finds events that the shared marks know as applied: those of an earlier release, and of a rebuild. Put after seen.lua.
-- Writes nothing.
-- KEYS: a key that names the slot.   ARGV: prefix `{namespace}:`; msgpack [[event key, …], [received_ms, …]].
-- Answer: '0' or '1' for each event.
local columns, applied = cmsgpack.unpack(ARGV[2]), {}
local marks = seen_find(ARGV[1], columns[1], columns[2])
for index, key in ipairs(columns[1]) do applied[index] = seen_applied(marks[key]) and '1' or '0' end
return table.concat(applied)
