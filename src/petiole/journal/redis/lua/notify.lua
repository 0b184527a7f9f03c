-- Puts a notice into an inbox, once for each key, and makes the inbox if there is none.
-- KEYS: meta, document, facts, message, leases, pending, seen, unread
-- ARGV: 1 epoch, 2 owner, 3 key, 4 the notice, 5 how many notices the document shows, 6 how many keys are remembered,
--       7 channel, 8 feed, 9 the event's id
-- Reply: {stored|duplicate, epoch, seq, facts, chain, cancel}
local meta = load_meta() or create(ARGV[1], ARGV[2])
local seen, unread, key = KEYS[7], KEYS[8], ARGV[3]
redis.call('PEXPIRE', keys.meta, LIMITS.live_ms)
if redis.call('ZSCORE', seen, key) then
  return reply('duplicate', meta)
end
remember(seen, key, meta.seq + 1, ARGV[6])
remember(unread, key, meta.seq + 1, ARGV[6])
local count = redis.call('ZCARD', unread)
local shown = redis.call('HLEN', keys.document) - redis.call('HEXISTS', keys.document, 'unread')
  - redis.call('HEXISTS', keys.document, 'earlier') + 1
local patch = { key, ARGV[4] }
if shown > tonumber(ARGV[5]) then
  -- The newest are shown, so the oldest of those goes over into the sum of the earlier ones.
  patch[3], patch[4] = redis.call('ZRANGE', unread, count - shown, count - shown)[1], 'null'
  shown = shown - 1
end
write_inbox(meta, 'notice', patch, count, shown, ',"data":' .. ARGV[4])
redis.call('PEXPIRE', seen, LIMITS.live_ms)
redis.call('PEXPIRE', unread, LIMITS.live_ms)
return reply('stored', meta)
