-- Creates a feed with its first fact. An open feed is left as it is; an ended one begins again for a new publication.
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: epoch, owner, lease (in ms, or ''), message (or ''), publication (or ''), replayed ('1' or '0'), from REST on the
--       event
-- Reply: {opened, epoch, seq, facts, chain, cancel}
--      | {exists, epoch, seq, facts, chain, cancel (the feed that is left as it is)}
local before = load_meta()
if before and not begins_again(before, publication, replayed) then
  return reply('exists', before)
end
local event = event_at(REST)
if before then
  delete_texts(keys.meta, before.texts)
end
redis.call('DEL', keys.meta, keys.message)
local meta = create(epoch, owner)
if before then
  -- Run numbers go on, so that an earlier run that is still alive is fenced.
  redis.call('HSET', keys.meta, 'run', integer(before.run))
  redis.call('ZREM', keys.pending, event.feed)
  meta.publication, meta.spent = before.publication, before.spent
else
  meta.publication, meta.spent = '', ''
end
if publication ~= '' then
  succeed(meta, publication)
end
if message ~= '' then
  redis.call('SET', keys.message, message, 'PX', LIMITS.live_ms)
end
write(meta, event, is_terminal(event.state))
if lease ~= '' then
  redis.call('ZADD', keys.leases, integer(now_ms() + tonumber(lease)), event.feed)
end
return reply('opened', meta)
