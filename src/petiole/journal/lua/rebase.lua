-- Opens a feed again in a new epoch after the journal has lost it: the writer's document at the writer's numbers.
-- KEYS: meta, document, facts, leases
-- ARGV: 1 feed, 2 epoch, 3 owner, 4 run, 5 fact, 6 seq, 7 facts, 8 chain, 9 state, 10 worker, 11 lease in ms, 12 lifetime in ms,
--       13… the document as field, JSON text
-- Reply: {epoch, seq, facts, chain} | {fenced, run} | {closed, state}
local values = redis.call('HMGET', KEYS[1], 'run', 'state')
if values[1] then
  if tonumber(values[1]) > tonumber(ARGV[4]) then
    return { 'fenced', values[1] }
  end
  local state = values[2]
  if state == 'succeeded' or state == 'failed' or state == 'cancelled' or state == 'lost' then
    return { 'closed', state }
  end
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
redis.call('HSET', KEYS[1], 'epoch', ARGV[2], 'owner', ARGV[3], 'run', ARGV[4], 'fact', ARGV[5], 'counter', '0', 'seq', ARGV[6],
  'facts', ARGV[7], 'chain', ARGV[8], 'state', ARGV[9], 'bytes', '0', 'live', '1', 'cancel', '0', 'retries', '0', 'delivery', '',
  'worker', ARGV[10])
if #ARGV > 12 then
  redis.call('HSET', KEYS[2], unpack(ARGV, 13))
end
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call('ZADD', KEYS[4], string.format('%.0f', now + tonumber(ARGV[11])), ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[12])
redis.call('PEXPIRE', KEYS[2], ARGV[12])
return { ARGV[2], ARGV[6], ARGV[7], ARGV[8] }
