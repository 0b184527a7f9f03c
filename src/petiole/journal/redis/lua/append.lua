-- Numbers, folds, keeps and rings one event of a run, or of web and reaper (run 0).
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: fact (the fact's number in its run), counter (the counter's number since then; of a text event where its chunk
--       begins), delivery (or ''), successor (the publication by which the task goes on, or ''), texts (the lengths of what
--       the run has written, as in a cursor), from REST on the event
-- Reply: {stored, epoch, seq, facts, chain, cancel, 1 if it was stalled}
--      | {duplicate, epoch, seq, facts, chain, cancel}
--      | {conflict, last}
--      | {text_gap, lengths}
--      | {fenced, run}
--      | {closed, state}
--      | {missing}
local meta = load_meta()
if not meta then
  return { 'missing' }
end
local event = event_at(REST)
local number = tonumber(fact)
if event.run > 0 then
  if event.run < meta.run then
    return { 'fenced', integer(meta.run) }
  end
  if event.run > meta.run then
    return { 'missing' }
  end
  -- After a loss of all data run numbers begin again: then the delivery tells one run from the other.
  if delivery ~= '' and meta.delivery ~= delivery then
    return { 'fenced', integer(meta.run) }
  end
  if event.chunk then
    local length, at = text_length(meta, event.run, event.chunk.name), tonumber(counter)
    if at + #event.chunk.text <= length then
      return reply('duplicate', meta)
    elseif at ~= length then
      return { 'text_gap', texts_here(meta, event.run) }
    end
  elseif event.fact then
    if number <= meta.fact then
      return reply('duplicate', meta)
    elseif number > meta.fact + 1 then
      return { 'conflict', integer(meta.fact) }
    end
  elseif number < meta.fact or (number == meta.fact and tonumber(counter) <= meta.counter) then
    return reply('duplicate', meta)
  elseif number > meta.fact then
    return { 'conflict', integer(meta.fact) }
  end
  if texts ~= '' and has_less(meta, event.run, texts) then
    return { 'text_gap', texts_here(meta, event.run) }
  end
elseif event.chunk then
  -- A text belongs to a run.
  return { 'fenced', integer(meta.run) }
end
if not admits(meta, event) then
  return { 'closed', meta.state }
end
local more = {}
if event.chunk then
  append_text(meta, event, tonumber(counter))
  more = { 'texts', meta.texts }
elseif event.run > 0 then
  more = { 'fact', fact, 'counter', event.fact and '0' or counter }
end
local ends = ends_run(event.state)
if ends then
  redis.call('HSET', keys.meta, 'live', '0')
  redis.call('ZREM', keys.leases, event.feed)
end
local was_stalled = meta.state == STALLED and event.state == ''
if successor ~= '' then
  succeed(meta, successor)
end
write(meta, event, is_terminal(event.state), more)
if event.run > 0 and not ends then
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
