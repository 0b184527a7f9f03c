-- Lists a task under its owner, by the time when it was first listed.
-- KEYS: owner
-- ARGV: feed, lifetime (in ms)
-- Reply: 1
local time = redis.call('TIME')
redis.call('ZADD', keys.owner, 'NX', string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2])), feed)
redis.call('PEXPIRE', keys.owner, lifetime)
return 1
