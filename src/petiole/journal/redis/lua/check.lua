-- Says how a run stands, and prolongs its lease if it is the run that asks.
-- KEYS: meta, leases
-- ARGV: run, delivery (or ''), lease (in ms, or ''), feed
-- Reply: {1 if it is the current, live run, 1 if cancelling was asked for (2: by force), 1 if it is stalled}
local values = redis.call('HMGET', keys.meta, 'run', 'live', 'cancel', 'state', 'delivery')
local held = values[1] == run and values[2] == '1' and (delivery == '' or values[5] == delivery)
if held and lease ~= '' then
  local time = redis.call('TIME')
  local ends = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000) + tonumber(lease)
  redis.call('ZADD', keys.leases, string.format('%.0f', ends), feed)
end
return { held and 1 or 0, tonumber(values[3] or '0'), values[4] == STALLED and 1 or 0 }
