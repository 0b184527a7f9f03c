-- Deletes a feed, and keeps that it was there and has ended.
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: 1 feed, 2 lifetime in ms
local state = redis.call('HGET', KEYS[1], 'state')
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
if not (state == 'succeeded' or state == 'failed' or state == 'cancelled' or state == 'lost') then
  state = 'cancelled'
end
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
redis.call('HSET', KEYS[1], 'removed', '1', 'owner', '', 'state', state, 'live', '0', 'cancel', '1', 'bytes', '0')
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('ZREM', KEYS[5], ARGV[1])
redis.call('ZREM', KEYS[6], ARGV[1])
return 1
