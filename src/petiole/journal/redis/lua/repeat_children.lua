-- Begins an ended group again, in a new epoch, with those of its children that are to run again.
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: epoch, lease (in ms), from REST on the event, then the numbers
-- Reply: {opened, epoch, seq, facts, chain, cancel}
--      | {closed, state}
--      | {missing}
local meta = load_meta()
if not meta then
  return { 'missing' }
end
if meta.epoch == epoch then
  return reply('opened', meta) -- an earlier reply was lost
end
if not is_terminal(meta.state) or meta.removed then
  return { 'closed', meta.state }
end
local group = load_group(meta)
local event, after = event_at(REST)
if meta.cancel > 0 then
  -- What was cancelled before it began is kept as waiting: it stays cancelled.
  for number = 0, total_of(group) - 1 do
    local child = child_at(number)
    if child.state == CHILD.queued or child.state == CHILD.retrying then
      child.state = CHILD.cancelled
      keep_child(number, child)
    end
  end
end
local ranges = {}
local function put_back(number, child)
  move(group, child.state, CHILD.queued)
  child.state, child.attempt, child.late, child.done, child.since = CHILD.queued, 0, 0, 0, 0
  keep_child(number, child)
  ranges[#ranges + 1] = { child.first, child.after }
end
for i = after, #ARGV do
  local number = tonumber(ARGV[i])
  local child = child_at(number)
  if child and child.state > CHILD.succeeded and child.state ~= CHILD.skipped then
    put_back(number, child)
    redis.call('HDEL', group_key('failures'), ARGV[i])
    redis.call('HDEL', group_key('messages'), ARGV[i])
  end
end
while #ranges > 0 do
  local range = table.remove(ranges)
  for number = range[1], range[2] - 1 do
    local child = child_at(number)
    if child and child.state == CHILD.skipped then
      put_back(number, child)
    end
  end
end
group.told, group.untold, group.partly, group.errors = 0, 0, 0, 0
group.rate, group.rate_at, group.rate_ended, group.stage = 0, 0, 0, '0 null'
redis.call('DEL', keys.facts)
meta.epoch, meta.seq, meta.facts, meta.chain, meta.bytes = epoch, 0, 0, ZERO_CHAIN, 0
meta.run, meta.state, meta.cancel = meta.run + 1, '', 0
redis.call('HSET', keys.meta, 'epoch', epoch, 'run', integer(meta.run), 'cancel', '0', 'waits', '0', 'bytes', '0')
keep_group(group)
keep_group_keys(LIMITS.live_ms)
redis.call('ZREM', keys.pending, event.feed)
redis.call('ZADD', keys.leases, integer(now_ms() + tonumber(lease)), event.feed)
event.run, event.progress = meta.run, progress_of(group)
write(meta, event, false)
return reply('opened', meta)
