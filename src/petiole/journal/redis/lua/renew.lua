-- Prolongs the leases of feeds that a worker has claimed.
-- KEYS: leases, from EACH_KEY on meta, document, facts, message of each
-- ARGV: worker, lease (in ms), lifetime (in ms), from REST on the feeds
-- Reply: per feed {1 if held, 1 if cancelling was asked for (2: by force), 1 if it is stalled}
local now = redis.call('TIME')
local ends = string.format('%.0f', tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000) + tonumber(lease))
local answers = {}
for i = REST, #ARGV do
  local at = EACH_KEY + (i - REST) * 4
  -- Protected: a key that was spoiled by somebody else takes nobody else's lease.
  local values = redis.pcall('HMGET', KEYS[at], 'worker', 'live', 'cancel', 'state', 'texts')
  if values.err and not string.find(values.err, 'WRONGTYPE', 1, true) then
    return values
  end
  local held = not values.err and values[1] == worker and values[2] == '1'
  if held then
    redis.call('ZADD', keys.leases, ends, ARGV[i])
    for key = at, at + 3 do
      redis.call('PEXPIRE', KEYS[key], lifetime)
    end
    for _, key in ipairs(text_keys(KEYS[at], values[5])) do
      redis.call('PEXPIRE', key, lifetime)
    end
  end
  answers[#answers + 1] = { held and 1 or 0, tonumber(values[3] or '0'), values[4] == STALLED and 1 or 0 }
end
return answers
