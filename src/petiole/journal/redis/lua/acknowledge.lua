-- Takes notices out of an inbox. A key that hasn't come yet leaves a tombstone, so that it never will.
-- KEYS: meta, document, facts, message, leases, pending, seen, unread
-- ARGV: owner, channel, feed, id (the event's), everything (take out all that are unread, '1' or '0'), again (each of the
--       keys comes once more, '1' or '0'), from REST on keys
-- Reply: {stored, epoch, seq, facts, chain, cancel}
--      | {duplicate, epoch, seq, facts, chain, cancel}
local meta = load_meta() or create(INBOX_EPOCH, owner)
local seen, unread = keys.seen, keys.unread
local patch, taken = {}, 0
local function take(key)
  if redis.call('ZREM', unread, key) == 1 then
    taken = taken + 1
    if redis.call('HEXISTS', keys.document, key) == 1 then
      patch[#patch + 1], patch[#patch + 2] = key, 'null'
    end
  end
end
if everything == '1' then
  for _, key in ipairs(redis.call('ZRANGE', unread, 0, -1)) do
    take(key)
  end
end
for i = REST, #ARGV do
  take(ARGV[i])
  if again == '1' then
    redis.call('ZREM', seen, ARGV[i])
  elseif not redis.call('ZSCORE', seen, ARGV[i]) then
    remember(seen, ARGV[i], meta.seq + 1)
  end
end
redis.call('PEXPIRE', seen, LIMITS.live_ms)
redis.call('PEXPIRE', keys.meta, LIMITS.live_ms)
if taken == 0 then
  return reply('duplicate', meta)
end
local shown = redis.call('HLEN', keys.document) - redis.call('HEXISTS', keys.document, 'unread')
  - redis.call('HEXISTS', keys.document, 'earlier') - #patch / 2
write_inbox(meta, 'acknowledged', patch, redis.call('ZCARD', unread), shown, '')
return reply('stored', meta)
