-- Begins a run, with the event as its first fact unless cancelling was asked for.
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: 1 worker, 2 delivery, 3 retries, 4 lease in ms, 5 silent ends allowed, 6 the message to send again or '',
--       7 publication or '', 8 whether it is replayed, 9… the event (its run is set here), then, if there is one, the event to write when the runs have ended too often without a word
-- Reply: {claimed, epoch, seq, facts, chain, cancel, run, facts written, document…} | {busy, run, lease left in ms}
--        | {closed, state} | {missing}
local meta = load_meta()
if not meta then
  return { 'missing' }
end
local before = redis.call('HMGET', keys.meta, 'live', 'retries', 'silent')
local live, attempts, silent = before[1] == '1', tonumber(before[2]), tonumber(before[3] or '0')
local function claimed(written)
  local answer = reply('claimed', meta)
  answer[7], answer[8] = integer(meta.run), integer(written)
  answer[9] = redis.call('HGETALL', keys.document)
  return answer
end
if begins_again(meta, ARGV[7], ARGV[8]) then
  return { 'missing' }
end
if is_terminal(meta.state) or is_spent(meta, ARGV[7]) then
  return { 'closed', meta.state }
end
if live and meta.delivery == ARGV[2] then
  return claimed(meta.fact)
end
local event, after = event_at(9)
local retries = tonumber(ARGV[3])
if live and retries <= attempts then
  local ends = tonumber(redis.call('ZSCORE', keys.leases, event.feed) or '0')
  local left = ends - now_ms()
  if left > 0 then
    return { 'busy', integer(meta.run), integer(left) }
  end
end
if live and retries <= attempts then
  silent = silent + 1
  redis.call('HSET', keys.meta, 'silent', integer(silent))
  if silent >= tonumber(ARGV[5]) and ARGV[after] then
    redis.call('HSET', keys.meta, 'live', '0')
    redis.call('ZREM', keys.leases, event.feed)
    write(meta, event_at(after), true)
    return { 'closed', meta.state }
  end
end
if ARGV[7] ~= '' and ARGV[7] ~= meta.publication then
  if live and retries > attempts then
    -- The one before has handed over, though the fact that says so isn't here.
    succeed(meta, ARGV[7])
  else
    redis.call('HSET', keys.meta, 'publication', ARGV[7])
  end
end
meta.run = meta.run + 1
event.run = meta.run
local written = 0
if meta.cancel == 0 then
  written = 1
end
redis.call('HSET', keys.meta, 'run', integer(meta.run), 'fact', integer(written), 'counter', '0', 'live', '1', 'worker', ARGV[1],
  'delivery', ARGV[2], 'retries', ARGV[3])
if ARGV[6] ~= '' then
  redis.call('SET', keys.message, ARGV[6], 'PX', LIMITS.live_ms)
end
redis.call('ZADD', keys.leases, integer(now_ms() + tonumber(ARGV[4])), event.feed)
if written == 1 then
  write(meta, event, false)
end
return claimed(written)
