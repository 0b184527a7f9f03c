-- Asks a task to stop: cancelled at once where nothing runs, else cancelling and the flag that its run hears of.
-- KEYS: meta, document, facts, leases
-- ARGV: 1–4 limits, 5… the event `cancelling`, then the event `cancelled`
-- Reply: {stored|duplicate, …} | {closed, state} | {missing}
local keys = { meta = KEYS[1], document = KEYS[2], facts = KEYS[3] }
local meta = load_meta(keys.meta)
if not meta then
  return { 'missing' }
end
if is_terminal(meta.state) then
  return { 'closed', meta.state }
end
if meta.cancel then
  return reply('duplicate', meta)
end
local cancelling, after = event_at(5)
redis.call('HSET', keys.meta, 'cancel', '1')
meta.cancel = true
if meta.state == 'queued' or meta.state == 'retrying' then
  redis.call('ZREM', KEYS[4], cancelling.feed)
  write(keys, meta, event_at(after), limits_at(1), true)
else
  write(keys, meta, cancelling, limits_at(1), false)
end
return reply('stored', meta)
