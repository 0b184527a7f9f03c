-- Lists a task under its owner, by the time when it was first listed.
-- KEYS: the owner's index
-- ARGV: 1 feed, 2 lifetime in ms
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], 'NX', string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2])), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
