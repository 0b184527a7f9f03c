-- Ends the lease of a feed that no worker has claimed.
-- KEYS: meta, leases
-- ARGV: 1 feed
if redis.call('HGET', KEYS[1], 'run') == '0' then
  redis.call('ZREM', KEYS[2], ARGV[1])
end
return 1
