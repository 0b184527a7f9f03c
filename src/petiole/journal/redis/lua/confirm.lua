-- Says that the broker has a feed's message: of a run that hasn't begun, or of one that is to be run again.
-- KEYS: meta, leases
-- ARGV: feed, run, lease (how long it waits for a worker, in ms, or '')
-- Reply: 1
local values = redis.call('HMGET', keys.meta, 'run', 'state')
if lease == '' then
  if values[1] == run then
    redis.call('ZREM', keys.leases, feed)
  end
elseif values[2] == QUEUED or (values[2] == RETRYING and values[1] == run) then
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  redis.call('HSET', keys.meta, 'waits', '1')
  redis.call('ZADD', keys.leases, string.format('%.0f', now + tonumber(lease)), feed)
end
return 1
