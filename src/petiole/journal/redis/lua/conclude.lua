-- Writes a verdict over a run whose lease is still expired.
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: run, lease (in ms, or ''), from REST on the event
-- Reply: {stored, epoch, seq, facts, chain, cancel}
--      | {closed, state}
--      | {missing}
local event = event_at(REST)
local meta = load_meta()
if not meta then
  redis.call('ZREM', keys.leases, event.feed)
  return { 'missing' }
end
local ends = redis.call('ZSCORE', keys.leases, event.feed)
local now = now_ms()
if integer(meta.run) ~= run or not ends or tonumber(ends) > now or not admits(meta, event) then
  return { 'closed', meta.state }
end
if ends_run(event.state) then
  redis.call('HSET', keys.meta, 'live', '0')
end
if lease == '' then
  redis.call('ZREM', keys.leases, event.feed)
else
  redis.call('ZADD', keys.leases, integer(now + tonumber(lease)), event.feed)
end
write(meta, event, is_terminal(event.state))
return reply('stored', meta)
