-- Begins a run, with the event as its first fact unless cancelling was asked for.
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: worker, delivery, retries, lease (in ms), message (to send again, or ''), publication (or ''), replayed ('1' or
--       '0'), from REST on the event (its run is set here), then, if there is one, the event to write when too many runs
--       ended silently
-- Reply: {claimed, epoch, seq, facts, chain, cancel, run, facts written, document…}
--      | {busy, run, lease left in ms}
--      | {closed, state}
--      | {missing}
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
if begins_again(meta, publication, replayed) then
  return { 'missing' }
end
if is_terminal(meta.state) or is_spent(meta, publication) then
  return { 'closed', meta.state }
end
if live and meta.delivery == delivery then
  return claimed(meta.fact)
end
local event, after = event_at(REST)
local supersedes = live and tonumber(retries) > attempts
if live and not supersedes then
  local ends = tonumber(redis.call('ZSCORE', keys.leases, event.feed) or '0')
  local left = ends - now_ms()
  if left > 0 then
    return { 'busy', integer(meta.run), integer(left) }
  end
  silent = silent + 1
  redis.call('HSET', keys.meta, 'silent', integer(silent))
  if silent >= MAX_SILENT_ENDS and ARGV[after] then
    redis.call('HSET', keys.meta, 'live', '0')
    redis.call('ZREM', keys.leases, event.feed)
    write(meta, event_at(after), true)
    return { 'closed', meta.state }
  end
end
if publication ~= '' and publication ~= meta.publication then
  if supersedes then
    -- The earlier run has handed over, though the fact that says so isn't here.
    succeed(meta, publication)
  else
    redis.call('HSET', keys.meta, 'publication', publication)
  end
end
meta.run = meta.run + 1
event.run = meta.run
local written = 0
if meta.cancel == 0 then
  written = 1
end
redis.call('HSET', keys.meta, 'run', integer(meta.run), 'fact', integer(written), 'counter', '0', 'live', '1', 'worker', worker,
  'delivery', delivery, 'retries', retries)
if message ~= '' then
  redis.call('SET', keys.message, message, 'PX', LIMITS.live_ms)
end
redis.call('ZADD', keys.leases, integer(now_ms() + tonumber(lease)), event.feed)
if written == 1 then
  if meta.texts ~= '' then
    begin_texts(meta, meta.run)
  end
  write(meta, event, false)
end
return claimed(written)
