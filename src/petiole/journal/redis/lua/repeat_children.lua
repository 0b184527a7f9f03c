-- Begins an ended group again, in a new epoch, with those of its children that are to run again.
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: epoch, lease (in ms), from REST on the event, then the numbers
-- Reply: {opened, epoch, seq, facts, chain, cancel}
--      | {closed, state (it hasn't ended, or none of these can run again)}
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
local group, now = load_group(), now_ms()
local event, after = event_at(REST)
local chosen, total, runs_again = {}, total_of(group), false
for i = after, #ARGV do
  chosen[tonumber(ARGV[i])] = true
end
-- `groups.again`. By the first number of a range the number after its last: what follows children that run again, and the
-- others.
local revives, voids, revived, void = {}, {}, 0, 0
for first = 0, total - 1, RECORDS_AT_ONCE do
  local from, upto = integer(first * RECORD_SIZE), integer((first + RECORDS_AT_ONCE) * RECORD_SIZE - 1)
  local packed = redis.call('GETRANGE', group_key('children'), from, upto)
  for number = first, math.min(first + RECORDS_AT_ONCE, total) - 1 do
    local at = (number - first) * RECORD_SIZE + 1
    revived, void = math.max(revived, revives[number] or 0), math.max(void, voids[number] or 0)
    local child = not has_succeeded(packed, at) and child_of(packed, at)
    if child then
      local is_kept = true
      if meta.cancel > 0 and (child.state == CHILD.queued or child.state == CHILD.retrying) then
        -- What was cancelled before it began is kept as waiting: it stays cancelled.
        child.state, is_kept = CHILD.cancelled, false
      end
      local runs
      if chosen[number] then
        runs = child.state > CHILD.succeeded and child.state ~= CHILD.skipped
      else
        runs = number < revived and (child.state == CHILD.skipped or child.state == CHILD.cancelled)
      end
      if runs and number >= void then
        move(group, child.state, CHILD.queued)
        child.state, child.attempt, child.late, child.stops, child.done, child.since = CHILD.queued, 0, 0, false, 0, 0
        runs_again, is_kept = true, false
        redis.call('HDEL', group_key('failures'), integer(number))
        redis.call('HDEL', group_key('messages'), integer(number))
        revives[child.first] = math.max(revives[child.first] or 0, child.after)
      elseif is_void_making(child) then
        voids[child.first] = math.max(voids[child.first] or 0, child.after)
      end
      if not is_kept then
        keep_child(number, child)
      end
    end
  end
end
if not runs_again then
  return { 'closed', meta.state }
end
group.told, group.untold, group.partly, group.errors = 0, 0, 0, 0
group.rate, group.rate_at, group.rate_ended, group.stage = 0, 0, 0, '0 null'
redis.call('DEL', keys.facts)
meta.epoch, meta.seq, meta.facts, meta.chain, meta.bytes = epoch, 0, 0, ZERO_CHAIN, 0
meta.run, meta.state, meta.cancel = meta.run + 1, '', 0
redis.call('HSET', keys.meta, 'epoch', epoch, 'run', integer(meta.run), 'cancel', '0', 'waits', '0', 'bytes', '0')
keep_group(group)
redis.call('ZREM', keys.pending, event.feed)
redis.call('ZADD', keys.leases, integer(now + tonumber(lease)), event.feed)
event.run, event.progress = meta.run, progress_of(group)
write(meta, event, false)
return reply('opened', meta)
