-- Creates a feed with its first fact; an open feed is left as it is.
-- KEYS: meta, document, facts, leases
-- ARGV: 1 epoch, 2 owner, 3 lease in ms or '', 4–7 limits, 8… the event
-- Reply: {opened|exists, epoch, seq, facts, chain, cancel}
local keys = { meta = KEYS[1], document = KEYS[2], facts = KEYS[3] }
local meta = load_meta(keys.meta)
if meta then
  return reply('exists', meta)
end
redis.call('DEL', keys.document, keys.facts)
meta = { epoch = ARGV[1], seq = 0, facts = 0, chain = '0000000000000000', state = '', bytes = 0, cancel = false }
redis.call('HSET', keys.meta, 'epoch', ARGV[1], 'owner', ARGV[2], 'bytes', '0', 'run', '0', 'fact', '0', 'counter', '0',
  'live', '0', 'cancel', '0', 'retries', '0', 'delivery', '', 'worker', '')
local event = event_at(8)
write(keys, meta, event, limits_at(4), is_terminal(event.state))
if ARGV[3] ~= '' then
  redis.call('ZADD', KEYS[4], integer(now_ms() + tonumber(ARGV[3])), event.feed)
end
return reply('opened', meta)
