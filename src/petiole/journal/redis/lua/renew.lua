-- Prolongs the leases of feeds that a worker has claimed.
-- KEYS: leases, then meta, document, facts, message of each feed
-- ARGV: 1 worker, 2 lease in ms, 3 lifetime in ms, 4… the feeds
-- Reply: per feed {1 if held, 1 if cancelling was asked for (2: by force), 1 if it is stalled}
local now = redis.call('TIME')
local ends = string.format('%.0f', tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000) + tonumber(ARGV[2]))
local answers = {}
for i = 4, #ARGV do
  local at = 2 + (i - 4) * 4
  -- Protected: a key that was spoiled by somebody else takes nobody else's lease.
  local values = redis.pcall('HMGET', KEYS[at], 'worker', 'live', 'cancel', 'state')
  if values.err and not string.find(values.err, 'WRONGTYPE', 1, true) then
    return values
  end
  local held = not values.err and values[1] == ARGV[1] and values[2] == '1'
  if held then
    redis.call('ZADD', KEYS[1], ends, ARGV[i])
    for key = at, at + 3 do
      redis.call('PEXPIRE', KEYS[key], ARGV[3])
    end
  end
  answers[#answers + 1] = { held and 1 or 0, tonumber(values[3] or '0'), values[4] == 'stalled' and 1 or 0 }
end
return answers
