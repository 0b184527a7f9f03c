-- Lists feeds whose lease has ended.
-- KEYS: from EACH_KEY on leases of each
-- ARGV: limit (of each partition), longest (how long a lease can be at most, in ms), lease (a run's, in ms)
-- Reply: per partition its feeds
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local function text(number)
  return string.format('%.0f', number)
end
local answers = {}
for i = EACH_KEY, #KEYS do
  local leases = KEYS[i]
  -- Protected: a key that was spoiled by somebody else hides its own partition only.
  local found = redis.pcall('ZRANGEBYSCORE', leases, '-inf', text(now), 'LIMIT', 0, limit)
  if found.err and not string.find(found.err, 'WRONGTYPE', 1, true) then
    return found
  end
  answers[i] = found.err and {} or found
  -- The clock was set back since these were given: without this no reaper would see them until the clock is as late again.
  local later = redis.pcall('ZRANGEBYSCORE', leases, '(' .. text(now + tonumber(longest)), '+inf', 'LIMIT', 0, limit)
  for _, feed in ipairs(later.err and {} or later) do
    redis.call('ZADD', leases, text(now + tonumber(lease)), feed)
  end
end
return answers
