-- Shared by every script that writes an event; the loader puts it in front of them. Values are opaque JSON text.
-- `write` numbers, folds, keeps and rings one event.
-- The loader gives `RING`, and `LIMITS`: how many facts and bytes a feed keeps, and how long its keys live while its task
-- does, and after it; and by their names the tables and words of `tables.py`.
-- The keys of each of these scripts begin with meta, document, facts, message, leases, pending.

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

-- Voids the texts of earlier runs: `Texts.of_run`.
local function begin_texts(meta, run)
  local _, before = lengths_of(meta.texts)
  if before ~= run then
    delete_texts(keys.meta, meta.texts)
    meta.texts = integer(run)
    redis.call('HSET', keys.meta, 'texts', meta.texts)
  end
end

-- How much of a run's text is here, in bytes; nothing, if somebody else has changed it.
local function text_length(meta, run, name)
  local lengths, of = lengths_of(meta.texts)
  for _, pair in ipairs(of == run and lengths or {}) do
    if pair[1] == name then
      return redis.call('STRLEN', text_key(keys.meta, name)) == pair[2] and pair[2] or 0
    end
  end
  return 0
end

-- Appends a chunk to its text, which is `at` bytes long. The caller keeps `meta.texts`.
local function append_text(meta, event, at)
  begin_texts(meta, event.run)
  local key, ends = text_key(keys.meta, event.chunk.name), integer(at + #event.chunk.text)
  if at == 0 then
    redis.call('SET', key, event.chunk.text, 'PX', LIMITS.live_ms)
  else
    redis.call('APPEND', key, event.chunk.text)
  end
  local said = { integer(event.run) }
  for _, pair in ipairs((lengths_of(meta.texts))) do
    if pair[1] ~= event.chunk.name then
      said[#said + 1] = pair[1] .. '~' .. integer(pair[2])
    end
  end
  said[#said + 1] = event.chunk.name .. '~' .. ends
  meta.texts = table.concat(said, '~')
end

-- Whether less of a run's texts is here than it says it has written.
local function has_less(meta, run, written)
  for _, pair in ipairs((lengths_of(written))) do
    if text_length(meta, run, pair[1]) < pair[2] then
      return true
    end
  end
  return false
end

-- The lengths of a run's texts that are here, as in a cursor.
local function texts_here(meta, run)
  local lengths, of = lengths_of(meta.texts)
  local said = { integer(run) }
  for _, pair in ipairs(of == run and lengths or {}) do
    said[#said + 1] = pair[1] .. '~' .. integer(text_length(meta, run, pair[1]))
  end
  return table.concat(said, '~')
end

-- Gives texts the lifetime of their feed. Once they are whole, they are written anew: Redis has kept room for them to grow.
local function keep_texts(texts, lifetime, whole)
  for _, key in ipairs(text_keys(keys.meta, texts)) do
    local text = whole and redis.call('GET', key)
    if text then
      redis.call('SET', key, text, 'PX', lifetime)
    else
      redis.call('PEXPIRE', key, lifetime)
    end
  end
end

-- meta: table of the feed's numbers; event: {feed, id, fact, body, progress, state, patch, chunk}
-- terminal: whether event.state ends the feed; more: further fields of meta to set
local function write(meta, event, terminal, more)
  local now = now_ms()
  local before = meta.chain
  meta.seq = meta.seq + 1
  if event.fact then
    meta.facts = meta.facts + 1
    meta.chain = string.sub(redis.sha1hex(before .. event.id), 1, 16)
  end
  local seq, facts, run = integer(meta.seq), integer(meta.facts), integer(event.run)
  local fields, progress, before_run = {}, event.progress, nil
  local function set(name, value)
    fields[#fields + 1], fields[#fields + 2] = name, value
  end
  for i = 1, #event.patch, 2 do
    if event.patch[i + 1] == 'null' then
      redis.call('HDEL', keys.document, event.patch[i])
    else
      set(event.patch[i], event.patch[i + 1])
    end
  end
  if progress ~= '' then
    set('progress', progress)
  elseif event.chunk then
    -- It has no patch, and its run's document is seldom another's.
    local kept = redis.call('HMGET', keys.document, 'progress', 'run')
    progress, before_run = kept[1] or '', kept[2]
  end
  if event.run > 0 and before_run ~= run then
    set('run', run)
  end
  if #fields > 0 then
    redis.call('HSET', keys.document, unpack(fields))
  end
  if progress == '' and not event.chunk then
    progress = redis.call('HGET', keys.document, 'progress') or ''
  end
  local body = string.sub(event.body, 8)
  local text = text_of(event.feed, meta.epoch, facts, meta.chain, event.id, seq, run, integer(now), body, progress, meta.texts,
    event.chunk and TEXT_VERSION or VERSION)
  local changes = { 'seq', seq, 'facts', facts, 'chain', meta.chain, unpack(more or {}) }
  local kept = 0
  if event.state ~= '' then
    meta.state = event.state
    changes[#changes + 1] = 'state'
    changes[#changes + 1] = event.state
  end
  if event.fact then
    local packed = pack_fact(before, event.id, meta.seq, event.run, now, body, progress, meta.texts)
    kept = redis.call('RPUSH', keys.facts, packed)
    meta.bytes = meta.bytes + #packed
    while kept > 1 and (kept > LIMITS.facts or meta.bytes > LIMITS.bytes) do
      meta.bytes = meta.bytes - #redis.call('LPOP', keys.facts)
      kept = kept - 1
    end
    changes[#changes + 1] = 'bytes'
    changes[#changes + 1] = integer(meta.bytes)
  end
  redis.call('HSET', keys.meta, unpack(changes))
  -- While a run is alive its worker prolongs the lifetime of these keys, with its lease.
  if terminal or (event.fact and (event.run == 0 or kept == 1)) then
    local lifetime = terminal and LIMITS.kept_ms or LIMITS.live_ms
    for _, key in ipairs({ keys.meta, keys.document, keys.facts, keys.message }) do
      redis.call('PEXPIRE', key, lifetime)
    end
    keep_texts(meta.texts, lifetime, terminal)
    if is_group(event.feed) then
      keep_group_keys(lifetime)
    end
  end
  if terminal and string.sub(event.feed, 1, 5) ~= 'user:' then
    -- The task's owner gets a notice of its end: the web side takes it from here.
    redis.call('ZADD', keys.pending, integer(now), event.feed)
  end
  redis.call(RING, event.channel, text)
end

local function create(epoch, owner)
  redis.call('DEL', keys.document, keys.facts)
  redis.call('HSET', keys.meta, 'layout', integer(LAYOUT), 'epoch', epoch, 'owner', owner, 'seq', '0', 'facts', '0',
    'chain', ZERO_CHAIN, 'bytes', '0', 'run', '0', 'fact', '0',
    'counter', '0', 'live', '0', 'cancel', '0', 'retries', '0', 'delivery', '', 'worker', '')
  return { epoch = epoch, seq = 0, facts = 0, chain = ZERO_CHAIN, state = '', bytes = 0, cancel = 0, texts = '' }
end

local function load_meta()
  local values = redis.call('HMGET', keys.meta, 'layout', 'epoch', 'seq', 'facts', 'chain', 'bytes', 'run', 'fact', 'counter',
    'cancel', 'delivery', 'state', 'publication', 'spent', 'removed', 'texts')
  if not values[2] then
    return nil
  end
  check_layout(values[1])
  return {
    epoch = values[2], seq = tonumber(values[3]), facts = tonumber(values[4]), chain = values[5], bytes = tonumber(values[6]),
    run = tonumber(values[7]), fact = tonumber(values[8]), counter = tonumber(values[9]), cancel = tonumber(values[10]),
    delivery = values[11], state = values[12] or '', publication = values[13] or '', spent = values[14] or '',
    removed = values[15], texts = values[16] or '',
  }
end

-- Names of publications that have ended, oldest first, each between spaces.
local function is_spent(meta, publication)
  return string.find(meta.spent, ' ' .. publication .. ' ', 1, true) ~= nil
end

-- Ends the feed's present publication, and goes on with another.
local function succeed(meta, publication)
  if meta.publication ~= '' and meta.publication ~= publication and not is_spent(meta, meta.publication) then
    meta.spent = (meta.spent == '' and ' ' or meta.spent) .. meta.publication .. ' '
    local _, number = string.gsub(meta.spent, '%w+', '')
    if number > PUBLICATIONS_KEPT then
      meta.spent = string.gsub(meta.spent, '^ %w+', '', 1)
    end
  end
  meta.publication = publication
  redis.call('HSET', keys.meta, 'publication', publication, 'spent', meta.spent)
end

-- Reads an event from ARGV[at…]; returns it, and where the next one begins.
local function event_at(at)
  local event, after = event_fields(at)
  local size = tonumber(event.size)
  event.run, event.patch = tonumber(event.run), {}
  if event.fact == TEXT then
    event.chunk = { name = ARGV[after], text = ARGV[after + 1] }
  else
    for i = 1, size do
      event.patch[i] = ARGV[after + i - 1]
    end
  end
  event.fact = event.fact == '1'
  return event, after + size
end

-- Whether an ended feed begins again for this publication: `rules.begins_again`.
local function begins_again(meta, publication, replayed)
  if not is_terminal(meta.state) or publication == '' or is_spent(meta, publication) then
    return false
  end
  if publication ~= meta.publication then
    return true
  end
  return replayed == '1' and meta.run > 0 and not meta.removed and is_replayable(meta.state)
end

-- Whether the feed's state takes the event: `rules.admits`.
local function admits(meta, event)
  if is_terminal(meta.state) then
    return false
  end
  return event.state == '' or meta.state == '' or may_follow(event.state, meta.state)
end

local function place(meta)
  return { meta.epoch, meta.seq, meta.facts, meta.chain, meta.cancel }
end

local function reply(word, meta)
  local answer = place(meta)
  table.insert(answer, 1, word)
  return answer
end
