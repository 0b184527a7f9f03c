-- Asks a task to stop: cancelled at once where nothing runs, else cancelling and the flag that its run hears of. By force:
-- raises the flag of a task that is being cancelled, so that its worker ends the process.
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: force ('1' or '0'), from REST on the event `cancelling`, then the event `cancelled`
-- Reply: {stored, epoch, seq, facts, chain, cancel}
--      | {duplicate, epoch, seq, facts, chain, cancel}
--      | {closed, state}
--      | {missing}
local meta = load_meta()
if not meta then
  return { 'missing' }
end
if is_terminal(meta.state) then
  return { 'closed', meta.state }
end
local wanted = force == '1' and CANCEL_FORCED or CANCEL_ASKED
if meta.cancel >= wanted then
  return reply('duplicate', meta)
end
local cancelling, after = event_at(REST)
local is_asked_first = meta.cancel == 0
redis.call('HSET', keys.meta, 'cancel', integer(wanted))
meta.cancel = wanted
if is_group(cancelling.feed) then
  local group, now = load_group(), now_ms()
  if is_asked_first then
    -- What hasn't begun is cancelled at once: a record that says it waits is read so from here on.
    for _, state in ipairs({ CHILD.queued, CHILD.retrying }) do
      move(group, state, CHILD.cancelled, group.counts[state])
    end
  end
  local ends = left_of(group) == 0
  local event = cancelling
  if ends then
    event = event_at(after)
    redis.call('ZREM', keys.leases, event.feed)
    redis.call('DEL', group_key('alive'))
  end
  take_told(group, now)
  event.run, event.progress = meta.run, progress_of(group)
  keep_group(group)
  write(meta, event, ends)
  return reply('stored', meta)
end
-- Stalled without a lease: only redelivery is pending, and what the broker redelivers will find the feed closed.
local gone = meta.state == STALLED and not redis.call('ZSCORE', keys.leases, cancelling.feed)
if is_waiting(meta.state) or gone then
  redis.call('HSET', keys.meta, 'live', '0')
  redis.call('ZREM', keys.leases, cancelling.feed)
  write(meta, event_at(after), true)
else
  write(meta, cancelling, false)
end
return reply('stored', meta)
