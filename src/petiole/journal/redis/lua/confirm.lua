-- Says that the broker has a feed's message: of a run that hasn't begun, or of one that is to be run again.
-- KEYS: meta, leases
-- ARGV: 1 feed, 2 run, 3 for how long a worker is waited for, in ms, or ''
local values = redis.call('HMGET', KEYS[1], 'run', 'state')
if ARGV[3] == '' then
  if values[1] == ARGV[2] then
    redis.call('ZREM', KEYS[2], ARGV[1])
  end
elseif values[2] == 'queued' or (values[2] == 'retrying' and values[1] == ARGV[2]) then
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  redis.call('HSET', KEYS[1], 'waits', '1')
  redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(ARGV[3])), ARGV[1])
end
return 1
