-- Asks a task to stop: cancelled at once where nothing runs, else cancelling and the flag that its run hears of.
-- By force: raises the flag of a task that is being cancelled, so that its worker ends the process.
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: 1 whether by force, 2… the event `cancelling`, then the event `cancelled`
-- Reply: {stored|duplicate, …} | {closed, state} | {missing}
local meta = load_meta()
if not meta then
  return { 'missing' }
end
if is_terminal(meta.state) then
  return { 'closed', meta.state }
end
local wanted = ARGV[1] == '1' and 2 or 1
if meta.cancel >= wanted then
  return reply('duplicate', meta)
end
local cancelling, after = event_at(2)
redis.call('HSET', keys.meta, 'cancel', integer(wanted))
meta.cancel = wanted
-- Stalled without a lease: nobody is waited for but the broker, and what it returns will find the feed closed.
local gone = meta.state == 'stalled' and not redis.call('ZSCORE', keys.leases, cancelling.feed)
if meta.state == 'queued' or meta.state == 'retrying' or gone then
  redis.call('HSET', keys.meta, 'live', '0')
  redis.call('ZREM', keys.leases, cancelling.feed)
  write(meta, event_at(after), true)
else
  write(meta, cancelling, false)
end
return reply('stored', meta)
