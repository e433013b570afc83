-- Marks events of history as seen, unless they are. Put after seen.lua.
-- ARGV: prefix `{namespace}:`; msgpack [[event key, …], [received_ms, …], [mark, …]].
local prefix, columns = ARGV[1], cmsgpack.unpack(ARGV[2])
local keys, received, values = unpack(columns)
local marks, homes = seen_find(prefix, keys, received)
local new_marks = {}
for index, key in ipairs(keys) do
  local known = marks[key]
  if not known or seen_applied(values[index]) and not seen_applied(known) then new_marks[key] = values[index] end
end
seen_write(homes, new_marks)
return 0
