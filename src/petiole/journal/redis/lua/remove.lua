-- Deletes a feed, and leaves a tombstone that says it has ended.
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: feed, lifetime (in ms)
-- Reply: 1 if there was one
local state = redis.call('HGET', keys.meta, 'state')
if redis.call('EXISTS', keys.meta) == 0 then
  return 0
end
if not is_terminal(state) then
  state = CANCELLED
end
delete_texts(keys.meta, redis.call('HGET', keys.meta, 'texts'))
redis.call('DEL', keys.document, keys.facts, keys.message)
delete_group_keys(feed)
redis.call('HSET', keys.meta, 'removed', '1', 'owner', '', 'state', state, 'live', '0', 'cancel', CANCEL_ASKED, 'bytes', '0', 'texts', '')
redis.call('PEXPIRE', keys.meta, lifetime)
redis.call('ZREM', keys.leases, feed)
redis.call('ZREM', keys.pending, feed)
return 1
