-- Creates a feed with its first fact; an open feed is left as it is.
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: 1 epoch, 2 owner, 3 lease in ms or '', 4 the message to send again or '', 5… the event
-- Reply: {opened|exists, epoch, seq, facts, chain, cancel}
local meta = load_meta()
if meta then
  return reply('exists', meta)
end
meta = create(ARGV[1], ARGV[2])
if ARGV[4] ~= '' then
  redis.call('SET', keys.message, ARGV[4], 'PX', LIMITS.live_ms)
end
local event = event_at(5)
write(meta, event, is_terminal(event.state))
if ARGV[3] ~= '' then
  redis.call('ZADD', keys.leases, integer(now_ms() + tonumber(ARGV[3])), event.feed)
end
return reply('opened', meta)
