-- Adds what children of a group say of themselves, once each, and rings if that is due.
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: run, lease (of a child that runs, in ms), verdict (only of children whose lease has ended, '1' or '0'), id (the
--       event's), feed, channel, from REST on of each contribution its child, state, attempt, done, '1' if it is
--       acknowledged late, '1' if nothing follows, error (JSON text, or ''), message (or ''), place of its stage (or 0),
--       name of its stage (JSON text)
-- Reply: {counted, epoch, seq, facts, chain, cancel, in how many ms the group is to ring (or -1), of each contribution c
--        (counted), d (known) or e (its child has ended)}
--      | {fenced, run}
--      | {closed, state}
--      | {missing}
local meta = load_meta()
if not meta then
  return { 'missing' }
end
if tonumber(run) > meta.run then
  return { 'missing' }
elseif tonumber(run) < meta.run then
  return { 'fenced', integer(meta.run) }
end
if is_terminal(meta.state) then
  return { 'closed', meta.state }
end
local group, now = load_group(), now_ms()
local cancelled = meta.cancel > 0
local total, begins, answers, patch = total_of(group), false, {}, {}
local was_idle = group.counts[CHILD.running] == 0

local function is_newer(child, state, attempt)
  local rank, known = math.min(state, CHILD.succeeded), math.min(child.state, CHILD.succeeded)
  if attempt ~= child.attempt then
    return attempt > child.attempt
  elseif rank ~= known then
    return rank > known
  end
  return state == CHILD.running
end

local function is_expired(number, child)
  local ends = child.state == CHILD.running and redis.call('ZSCORE', group_key('alive'), integer(number))
  return ends and tonumber(ends) <= now
end

-- What has changed is written at the end, when nothing can be refused any more: the records and their counts together.
local found, changed, ends_at, texts = {}, {}, {}, {}

local function look(number)
  found[number] = found[number] or child_at(number)
  return found[number]
end

local function skip(first, after)
  local ranges = { { first, after } }
  while #ranges > 0 do
    local range = table.remove(ranges)
    if range[1] < range[2]
      and not (look(range[1]).state >= CHILD.succeeded and look(range[2] - 1).state >= CHILD.succeeded) then
      for number = range[1], range[2] - 1 do
        local child = look(number)
        if child.state == CHILD.queued then
          child.state, changed[number] = CHILD.skipped, true
          move(group, CHILD.queued, CHILD.skipped)
          if child.first < child.after then
            ranges[#ranges + 1] = { child.first, child.after }
          end
        end
      end
    end
  end
end

local function take(number, child, state, attempt, done, late, stops)
  if cancelled and (state == CHILD.queued or state == CHILD.retrying) then
    state = CHILD.cancelled -- it would wait for a run that isn't to begin
  end
  local runs = state == CHILD.running
  move(group, child.state, state)
  if done ~= child.done then
    group.partly, group.untold = group.partly + done - child.done, 1
  end
  if runs then
    child.late = late
    if child.state ~= CHILD.running then
      child.since = now
    end
    begins = true
  end
  ends_at[number] = runs and integer(now + tonumber(lease)) or ''
  child.state, child.attempt, child.done, child.stops, changed[number] = state, attempt, done, stops, true
  -- In a group that is cancelled what hasn't begun counts as cancelled already.
  if is_void_making(child) and not cancelled then
    skip(child.first, child.after)
  end
end

-- Keeps a text of a child in a hash of a bounded number.
local function keep_text(name, number, value)
  if value == '' then
    return
  end
  local key, field = group_key(name), integer(number)
  local kept = redis.call('HLEN', key)
  if kept < FAILURES_KEPT or redis.call('HEXISTS', key, field) == 1 then
    redis.call('HSET', key, field, value)
  end
  if kept == 0 then
    redis.call('PEXPIRE', key, LIMITS.live_ms)
  end
end

for at = REST, #ARGV, 10 do
  local number, state, attempt = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local done, late, stops = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), ARGV[at + 5] == '1'
  local failure, message, place, stage = ARGV[at + 6], ARGV[at + 7], tonumber(ARGV[at + 8]), ARGV[at + 9]
  local child = number >= 0 and number < total and look(number)
  if not child or child.state >= CHILD.succeeded
    or (cancelled and (child.state == CHILD.queued or child.state == CHILD.retrying)) then
    answers[#answers + 1] = 'e'
  elseif verdict == '1' and not is_expired(number, child) or verdict ~= '1' and not is_newer(child, state, attempt) then
    answers[#answers + 1] = 'd'
  else
    take(number, child, state, verdict == '1' and child.attempt or attempt, done, late, stops)
    answers[#answers + 1] = 'c'
    if place > tonumber(string.match(group.stage, '^%d+')) then
      group.stage, group.untold = integer(place) .. ' ' .. stage, 1
    end
    texts[#texts + 1] = { number, failure, message }
    if failure ~= '' and group.errors < ERRORS_SHOWN then
      group.errors = group.errors + 1
      patch[#patch + 1] = 'error' .. integer(group.errors)
      patch[#patch + 1] = string.sub(failure, 1, -2) .. ',"id":' .. id_of(number, child) .. '}'
    end
  end
end

local state = end_of(group, cancelled)
if state == '' and meta.state == QUEUED and next(changed) then
  state = RUNNING
end
if state ~= '' then
  say_state(patch, group, state, now)
end
for _, kept in ipairs(texts) do
  keep_text('failures', kept[1], kept[2])
  keep_text('messages', kept[1], kept[3])
end
if is_terminal(state) then
  redis.call('ZREM', keys.leases, feed)
  redis.call('DEL', group_key('alive'))
else
  for number, ends in pairs(ends_at) do
    if ends == '' then
      redis.call('ZREM', group_key('alive'), integer(number))
    else
      redis.call('ZADD', group_key('alive'), ends, integer(number))
    end
  end
  if begins then
    -- So that somebody looks after children whose worker disappears.
    redis.call('ZADD', keys.leases, 'LT', integer(now + tonumber(lease)), feed)
    if was_idle then
      redis.call('PEXPIRE', group_key('alive'), LIMITS.live_ms)
      redis.call('HSET', keys.meta, 'waits', '0')
    end
  end
end
local due = '-1'
if #patch > 0 or (group.untold == 1 and now - group.told >= RING_EVERY) then
  tell(meta, group, feed, channel, id, patch, state, now)
elseif group.untold == 1 then
  due = integer(group.told + RING_EVERY - now)
end
for number in pairs(changed) do
  keep_child(number, found[number])
end
keep_group(group)
local answer = reply('counted', meta)
answer[7], answer[8] = due, table.concat(answers)
return answer
