-- Returns where feeds of one partition stand.
-- KEYS: leases, from EACH_KEY on meta of each
-- ARGV: from REST on the feeds
-- Reply: per feed {} | {epoch, seq, facts, chain, state, owner, run, lease left in ms or '', 1 if it waits for a worker}
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local answers = {}
for i = REST, #ARGV do
  local at = i - REST
  -- Protected: a key that was spoiled by somebody else hides its own feed only.
  local values = redis.pcall('HMGET', KEYS[EACH_KEY + at], 'epoch', 'seq', 'facts', 'chain', 'state', 'owner', 'run', 'waits')
  if values.err and not string.find(values.err, 'WRONGTYPE', 1, true) then
    return values
  end
  if not values.err and values[1] then
    local ends = redis.pcall('ZSCORE', keys.leases, ARGV[i])
    if type(ends) == 'table' then
      if not string.find(ends.err, 'WRONGTYPE', 1, true) then
        return ends
      end
      ends = false
    end
    values[5] = values[5] or ''
    values[9] = values[8] == '1' and 1 or 0
    values[8] = ends and string.format('%.0f', tonumber(ends) - now) or ''
    answers[at + 1] = values
  else
    answers[at + 1] = {}
  end
end
return answers
