-- Creates a feed with its first fact; an open feed is left as it is, and an ended one begins again for a new publication.
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: 1 epoch, 2 owner, 3 lease in ms or '', 4 the message to send again or '', 5 publication or '', 6 whether it is replayed,
--       7… the event
-- Reply: {opened|exists, epoch, seq, facts, chain, cancel}
local before = load_meta()
if before and not begins_again(before, ARGV[5], ARGV[6]) then
  return reply('exists', before)
end
local event = event_at(7)
redis.call('DEL', keys.meta, keys.message)
local meta = create(ARGV[1], ARGV[2])
if before then
  -- The numbers of runs go on, so that what is left of an earlier one is fenced.
  redis.call('HSET', keys.meta, 'run', integer(before.run))
  redis.call('ZREM', keys.pending, event.feed)
  meta.publication, meta.spent = before.publication, before.spent
else
  meta.publication, meta.spent = '', ''
end
if ARGV[5] ~= '' then
  succeed(meta, ARGV[5])
end
if ARGV[4] ~= '' then
  redis.call('SET', keys.message, ARGV[4], 'PX', LIMITS.live_ms)
end
write(meta, event, is_terminal(event.state))
if ARGV[3] ~= '' then
  redis.call('ZADD', keys.leases, integer(now_ms() + tonumber(ARGV[3])), event.feed)
end
return reply('opened', meta)
