-- Lists feeds whose lease has ended.
-- KEYS: the leases of partitions
-- ARGV: 1 limit, of each partition
local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
local answers = {}
for i, leases in ipairs(KEYS) do
  -- Protected: a key that was spoiled by somebody else hides its own partition only.
  local found = redis.pcall('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, ARGV[1])
  if found.err and not string.find(found.err, 'WRONGTYPE', 1, true) then
    return found
  end
  answers[i] = found.err and {} or found
end
return answers
