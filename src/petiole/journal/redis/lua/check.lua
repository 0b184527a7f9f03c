-- Says how a run stands, and prolongs its lease if it is the run that asks.
-- KEYS: meta, leases
-- ARGV: 1 run, 2 its delivery or '', 3 lease in ms or '', 4 feed
-- Reply: {1 if it is the current, live run, 1 if cancelling was asked for (2: by force), 1 if it is stalled}
local values = redis.call('HMGET', KEYS[1], 'run', 'live', 'cancel', 'state', 'delivery')
local held = values[1] == ARGV[1] and values[2] == '1' and (ARGV[2] == '' or values[5] == ARGV[2])
if held and ARGV[3] ~= '' then
  local time = redis.call('TIME')
  local ends = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + tonumber(ARGV[3])
  redis.call('ZADD', KEYS[2], string.format('%.0f', ends), ARGV[4])
end
return { held and 1 or 0, tonumber(values[3] or '0'), values[4] == 'stalled' and 1 or 0 }
