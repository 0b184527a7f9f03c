-- Numbers, folds, keeps and rings one event of a run, or of web and reaper (run 0).
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: 1 the fact's number in its run, 2 the counter's since then, 3 the run's delivery or '', 4 whether the event ends the run,
--       5 the publication by which the task goes on or '', 6… the event
-- Reply: {stored, epoch, seq, facts, chain, cancel, 1 if it is stalled} | {duplicate, epoch, …, cancel} | {conflict, last} | {fenced, run} | {closed, state} | {missing}
local meta = load_meta()
if not meta then
  return { 'missing' }
end
local event = event_at(6)
local fact, counter = tonumber(ARGV[1]), tonumber(ARGV[2])
if event.run > 0 then
  if event.run < meta.run then
    return { 'fenced', integer(meta.run) }
  end
  if event.run > meta.run then
    return { 'missing' }
  end
  -- After a loss of all data run numbers begin again: then the delivery tells one run from the other.
  if ARGV[3] ~= '' and meta.delivery ~= ARGV[3] then
    return { 'fenced', integer(meta.run) }
  end
  if event.fact then
    if fact <= meta.fact then
      return reply('duplicate', meta)
    elseif fact > meta.fact + 1 then
      return { 'conflict', integer(meta.fact) }
    end
  elseif fact < meta.fact or (fact == meta.fact and counter <= meta.counter) then
    return reply('duplicate', meta)
  elseif fact > meta.fact then
    return { 'conflict', integer(meta.fact) }
  end
end
if not admits(meta, event) then
  return { 'closed', meta.state }
end
local more = {}
if event.run > 0 then
  more = { 'fact', ARGV[1], 'counter', event.fact and '0' or ARGV[2] }
end
if ARGV[4] == '1' then
  redis.call('HSET', keys.meta, 'live', '0')
  redis.call('ZREM', keys.leases, event.feed)
end
local was_stalled = meta.state == 'stalled' and event.state == ''
if ARGV[5] ~= '' then
  succeed(meta, ARGV[5])
end
write(meta, event, is_terminal(event.state), more)
if event.run > 0 and ARGV[4] ~= '1' then
  -- What a run says is a sign of its life; written seldom, because its worker renews the lease as well.
  local now = now_ms()
  local left = tonumber(redis.call('ZSCORE', keys.leases, event.feed) or '0') - now
  if left < LIMITS.lease_ms / 2 and redis.call('HGET', keys.meta, 'live') == '1' then
    redis.call('ZADD', keys.leases, integer(now + LIMITS.lease_ms), event.feed)
  end
end
local answer = reply('stored', meta)
answer[7] = was_stalled and 1 or 0
return answer
