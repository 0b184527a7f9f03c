-- Deletes a feed with all its facts.
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: feed
-- Reply: 1 if it had a lease
local texts = redis.pcall('HGET', keys.meta, 'texts') -- what somebody else has spoiled can be forgotten, too
if type(texts) == 'table' and not string.find(texts.err, 'WRONGTYPE', 1, true) then
  return texts
end
delete_texts(keys.meta, type(texts) == 'string' and texts or '')
redis.call('DEL', keys.meta, keys.document, keys.facts, keys.message)
delete_group_keys(feed)
redis.call('ZREM', keys.pending, feed)
return redis.call('ZREM', keys.leases, feed)
