-- Lists feeds whose lease has ended.
-- KEYS: the leases of partitions
-- ARGV: 1 limit, of each partition
local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000))
local answers = {}
for i, leases in ipairs(KEYS) do
  answers[i] = redis.call('ZRANGEBYSCORE', leases, '-inf', now, 'LIMIT', 0, ARGV[1])
end
return answers
