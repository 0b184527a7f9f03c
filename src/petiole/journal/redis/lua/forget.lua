-- Deletes a feed with all its facts.
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: 1 feed
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
redis.call('ZREM', KEYS[6], ARGV[1])
return redis.call('ZREM', KEYS[5], ARGV[1])
