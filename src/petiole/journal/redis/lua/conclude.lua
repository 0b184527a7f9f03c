-- Writes a verdict over a run whose lease is still expired.
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: 1 run, 2 lease in ms or '', 3 whether the event ends the run, 4… the event
-- Reply: as append
local event = event_at(4)
local meta = load_meta()
if not meta then
  redis.call('ZREM', keys.leases, event.feed)
  return { 'missing' }
end
local ends = redis.call('ZSCORE', keys.leases, event.feed)
local now = now_ms()
if integer(meta.run) ~= ARGV[1] or not ends or tonumber(ends) > now or not admits(meta, event) then
  return { 'closed', meta.state }
end
if ARGV[3] == '1' then
  redis.call('HSET', keys.meta, 'live', '0')
end
if ARGV[2] == '' then
  redis.call('ZREM', keys.leases, event.feed)
else
  redis.call('ZADD', keys.leases, integer(now + tonumber(ARGV[2])), event.feed)
end
write(meta, event, is_terminal(event.state))
return reply('stored', meta)
