-- Says how a run stands.
-- KEYS: meta
-- ARGV: 1 run
-- Reply: {1 if it is the current, live run, 1 if cancelling was asked for}
local values = redis.call('HMGET', KEYS[1], 'run', 'live', 'cancel')
return { (values[1] == ARGV[1] and values[2] == '1') and 1 or 0, values[3] == '1' and 1 or 0 }
