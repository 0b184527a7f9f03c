-- Says how a run stands.
-- KEYS: meta
-- ARGV: 1 run
-- Reply: {1 if it is the current, live run, 1 if cancelling was asked for, 1 if it is stalled}
local values = redis.call('HMGET', KEYS[1], 'run', 'live', 'cancel', 'state')
local held = values[1] == ARGV[1] and values[2] == '1'
return { held and 1 or 0, values[3] == '1' and 1 or 0, values[4] == 'stalled' and 1 or 0 }
