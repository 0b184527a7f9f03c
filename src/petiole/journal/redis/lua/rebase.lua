-- Opens a feed again in a new epoch after the journal has lost it: the writer's document at the writer's numbers.
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: epoch, owner, run, delivery, retries, fact, seq, facts, chain, state (or ''), worker, lease (in ms), lifetime (in
--       ms), feed, message (to send again, or ''), publication (or ''), from REST on the document as field, JSON text, …
-- Reply: {opened, epoch, seq, facts, chain, cancel}
--      | {fenced, run}
--      | {closed, state}
local meta = load_meta()
if meta then
  local number = tonumber(run)
  -- The same number under another delivery: somebody else has begun after the loss.
  if meta.run > number or (meta.run == number and meta.delivery ~= delivery) then
    return { 'fenced', integer(meta.run) }
  end
  if is_terminal(meta.state) then
    return { 'closed', meta.state }
  end
end
local ended = is_terminal(state)
-- A cancel was lost with the rest; the writer's document still says so.
local cancel = state == CANCELLING and CANCEL_ASKED or 0
if meta then
  delete_texts(keys.meta, meta.texts)
end
create(epoch, owner)
redis.call('HSET', keys.meta, 'run', run, 'delivery', delivery, 'retries', retries, 'fact', fact, 'seq', seq,
  'facts', facts, 'chain', chain, 'state', state, 'worker', worker, 'live', ended and '0' or '1',
  'cancel', integer(cancel), 'publication', publication, 'texts', '')
if ARGV[REST] then
  redis.call('HSET', keys.document, unpack(ARGV, REST))
end
if message ~= '' then
  redis.call('SET', keys.message, message, 'PX', lifetime)
end
if ended then
  redis.call('ZREM', keys.leases, feed)
  redis.call('ZADD', keys.pending, integer(now_ms()), feed)
else
  redis.call('ZADD', keys.leases, integer(now_ms() + tonumber(lease)), feed)
end
redis.call('PEXPIRE', keys.meta, lifetime)
redis.call('PEXPIRE', keys.document, lifetime)
return { 'opened', epoch, seq, facts, chain, cancel }
