-- Lists feeds whose lease has ended.
-- KEYS: the leases of partitions
-- ARGV: 1 limit, of each partition, 2 how long a lease can be at most, in ms, 3 a run's lease, in ms
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function text(number)
  return string.format('%.0f', number)
end
local answers = {}
for i, leases in ipairs(KEYS) do
  -- Protected: a key that was spoiled by somebody else hides its own partition only.
  local found = redis.pcall('ZRANGEBYSCORE', leases, '-inf', text(now), 'LIMIT', 0, ARGV[1])
  if found.err and not string.find(found.err, 'WRONGTYPE', 1, true) then
    return found
  end
  answers[i] = found.err and {} or found
  -- The clock was set back since these were given: nobody would be spoken for until it is as late again.
  local later = redis.pcall('ZRANGEBYSCORE', leases, '(' .. text(now + tonumber(ARGV[2])), '+inf', 'LIMIT', 0, ARGV[1])
  for _, feed in ipairs(later.err and {} or later) do
    redis.call('ZADD', leases, text(now + tonumber(ARGV[3])), feed)
  end
end
return answers
