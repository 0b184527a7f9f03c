-- Lists finished tasks whose notice isn't delivered yet, oldest first.
-- KEYS: from EACH_KEY on pending of each
-- ARGV: limit (of each partition)
-- Reply: per partition its feeds
local answers = {}
for i = EACH_KEY, #KEYS do
  -- Protected: a key that was spoiled by somebody else hides its own partition only.
  local found = redis.pcall('ZRANGE', KEYS[i], 0, limit - 1)
  if found.err and not string.find(found.err, 'WRONGTYPE', 1, true) then
    return found
  end
  answers[i] = found.err and {} or found
end
return answers
