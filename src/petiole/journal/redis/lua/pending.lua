-- Lists finished tasks whose notice isn't delivered yet, oldest first.
-- KEYS: the pending tasks of partitions
-- ARGV: 1 limit, of each partition
local answers = {}
for i, pending in ipairs(KEYS) do
  -- Protected: a key that was spoiled by somebody else hides its own partition only.
  local found = redis.pcall('ZRANGE', pending, 0, ARGV[1] - 1)
  if found.err and not string.find(found.err, 'WRONGTYPE', 1, true) then
    return found
  end
  answers[i] = found.err and {} or found
end
return answers
