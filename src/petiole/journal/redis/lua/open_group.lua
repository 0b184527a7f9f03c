-- Creates a group's feed with its first fact, and its children. A feed that is there is left as it is.
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: epoch, owner, lease (in ms, or ''), from REST on the records of the children, the event, then number and id (JSON
--       text) of each child whose id isn't in its record
-- Reply: {opened, epoch, seq, facts, chain, cancel}
--      | {exists, epoch, seq, facts, chain, cancel (the feed that is left as it is)}
local before = load_meta()
if before then
  return reply('exists', before)
end
local event, after = event_at(REST + 1)
delete_group_keys(event.feed)
redis.call('DEL', keys.meta, keys.message)
local meta = create(epoch, owner)
local number = integer(#ARGV[REST] / RECORD_SIZE)
redis.call('SET', group_key('children'), ARGV[REST])
redis.call('HSET', keys.meta, 'counts', number .. string.rep(' 0', CHILD_STATES - 1))
for i = after, #ARGV, 2 do
  redis.call('HSET', group_key('ids'), ARGV[i], ARGV[i + 1])
end
write(meta, event, is_terminal(event.state))
if lease ~= '' then
  redis.call('ZADD', keys.leases, integer(now_ms() + tonumber(lease)), event.feed)
end
return reply('opened', meta)
