-- Opens a feed again in a new epoch after the journal has lost it: the writer's document at the writer's numbers.
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: 1 epoch, 2 owner, 3 run, 4 delivery, 5 retries, 6 fact, 7 seq, 8 facts, 9 chain, 10 state, 11 worker, 12 lease in ms,
--       13 lifetime in ms, 14 feed, 15 the message to send again or '', 16 publication, 17… the document as field, JSON text
-- Reply: {opened, epoch, seq, facts, chain, cancel} | {fenced, run} | {closed, state}
local meta = load_meta()
local run = tonumber(ARGV[3])
if meta then
  -- The same number under another delivery: somebody else has begun after the loss.
  if meta.run > run or (meta.run == run and meta.delivery ~= ARGV[4]) then
    return { 'fenced', integer(meta.run) }
  end
  if is_terminal(meta.state) then
    return { 'closed', meta.state }
  end
end
local ended = is_terminal(ARGV[10])
-- Somebody asked the task to stop; that was lost with the rest, and its document still says so.
local cancel = ARGV[10] == 'cancelling' and 1 or 0
create(ARGV[1], ARGV[2])
redis.call('HSET', keys.meta, 'run', ARGV[3], 'delivery', ARGV[4], 'retries', ARGV[5], 'fact', ARGV[6], 'seq', ARGV[7],
  'facts', ARGV[8], 'chain', ARGV[9], 'state', ARGV[10], 'worker', ARGV[11], 'live', ended and '0' or '1',
  'cancel', integer(cancel), 'publication', ARGV[16])
if #ARGV > 16 then
  redis.call('HSET', keys.document, unpack(ARGV, 17))
end
if ARGV[15] ~= '' then
  redis.call('SET', keys.message, ARGV[15], 'PX', ARGV[13])
end
if ended then
  redis.call('ZREM', keys.leases, ARGV[14])
  redis.call('ZADD', keys.pending, integer(now_ms()), ARGV[14])
else
  redis.call('ZADD', keys.leases, integer(now_ms() + tonumber(ARGV[12])), ARGV[14])
end
redis.call('PEXPIRE', keys.meta, ARGV[13])
redis.call('PEXPIRE', keys.document, ARGV[13])
return { 'opened', ARGV[1], ARGV[7], ARGV[8], ARGV[9], cancel }
