-- Says how a run stands.
-- KEYS: meta
-- ARGV: 1 run, 2 its delivery or ''
-- Reply: {1 if it is the current, live run, 1 if cancelling was asked for (2: by force), 1 if it is stalled}
local values = redis.call('HMGET', KEYS[1], 'run', 'live', 'cancel', 'state', 'delivery')
local held = values[1] == ARGV[1] and values[2] == '1' and (ARGV[2] == '' or values[5] == ARGV[2])
return { held and 1 or 0, tonumber(values[3] or '0'), values[4] == 'stalled' and 1 or 0 }
