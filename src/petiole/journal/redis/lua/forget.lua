-- Deletes a feed with all its facts.
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: feed
-- Reply: 1 if it had a lease
delete_texts(keys.meta, redis.call('HGET', keys.meta, 'texts'))
redis.call('DEL', keys.meta, keys.document, keys.facts, keys.message)
redis.call('ZREM', keys.pending, feed)
return redis.call('ZREM', keys.leases, feed)
