-- Ends the lease of a feed whose message is with the broker: of a run that hasn't begun, or of one that is to be run again.
-- KEYS: meta, leases
-- ARGV: 1 feed, 2 run
if redis.call('HGET', KEYS[1], 'run') == ARGV[2] then
  redis.call('ZREM', KEYS[2], ARGV[1])
end
return 1
