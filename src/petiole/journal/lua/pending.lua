-- Lists finished tasks whose notice isn't delivered yet, oldest first.
-- KEYS: the pending tasks of partitions
-- ARGV: 1 limit, of each partition
local answers = {}
for i, pending in ipairs(KEYS) do
  answers[i] = redis.call('ZRANGE', pending, 0, ARGV[1] - 1)
end
return answers
