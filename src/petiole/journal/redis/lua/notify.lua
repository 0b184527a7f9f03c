-- Puts a notice into an inbox, once for each key, and makes the inbox if there is none.
-- KEYS: meta, document, facts, message, leases, pending, seen, unread
-- ARGV: owner, channel, feed, id (the event's), key, notice (JSON text)
-- Reply: {stored, epoch, seq, facts, chain, cancel}
--      | {duplicate, epoch, seq, facts, chain, cancel}
local meta = load_meta() or create(INBOX_EPOCH, owner)
local seen, unread = keys.seen, keys.unread
redis.call('PEXPIRE', keys.meta, LIMITS.live_ms)
if redis.call('ZSCORE', seen, key) then
  return reply('duplicate', meta)
end
remember(seen, key, meta.seq + 1)
remember(unread, key, meta.seq + 1)
local count = redis.call('ZCARD', unread)
local shown = redis.call('HLEN', keys.document) - redis.call('HEXISTS', keys.document, 'unread')
  - redis.call('HEXISTS', keys.document, 'earlier') + 1
local patch = { key, notice }
if shown > INBOX_SHOWN then
  -- The newest are shown, so the oldest of those goes over into the sum of the earlier ones.
  patch[3], patch[4] = redis.call('ZRANGE', unread, count - shown, count - shown)[1], 'null'
  shown = shown - 1
end
write_inbox(meta, 'notice', patch, count, shown, ',"data":' .. notice)
redis.call('PEXPIRE', seen, LIMITS.live_ms)
redis.call('PEXPIRE', unread, LIMITS.live_ms)
return reply('stored', meta)
