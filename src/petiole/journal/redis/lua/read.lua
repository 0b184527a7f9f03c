-- Returns the document and the facts after a cursor, of one instant.
-- KEYS: meta, document, facts
-- ARGV: epoch ('' reads from the start), seq, facts, chain, limit, feed, texts (the lengths of what the reader has, as in a
--       cursor, or '-': it reads none)
-- Reply: {} for an unknown feed, else {epoch, seq, facts, chain, recovered, owner, document…, kept facts after the cursor…,
--        {number and chain of the fact before those, for a reader without a cursor where not all are kept}, lengths of the
--        texts, {name, at, end, bytes} of each text after the reader's lengths…}
local values = redis.call('HMGET', keys.meta, 'epoch', 'seq', 'facts', 'chain', 'owner', 'layout', 'removed', 'texts')
if not values[1] or values[7] then
  return {}
end
check_layout(values[6])
local last = tonumber(values[3])
local first = last - redis.call('LLEN', keys.facts) + 1
local after, most = tonumber(facts), tonumber(limit)
local recovered = 1
local packed, start = {}, {}
if epoch == '' and first > 1 then
  after = first - 1
  packed = redis.call('LRANGE', keys.facts, 0, most)
  chain = #packed > 0 and chain_before(packed[1]) or values[4]
  recovered, start = 0, { integer(after), chain }
elseif epoch ~= '' and epoch ~= values[1] then
  recovered = 0
elseif after > last or tonumber(seq) > tonumber(values[2]) or after + 1 < first then
  recovered = 0
elseif after == last then
  if chain ~= values[4] then
    recovered = 0
  end
else
  -- One more than asked for: the chain of the last one stands in it.
  packed = redis.call('LRANGE', keys.facts, after + 1 - first, after + 1 + most - first)
  if chain_before(packed[1]) ~= chain then
    recovered = 0
    packed = {}
  end
end
local kept = {}
for i = 1, math.min(#packed, most) do
  local own = packed[i + 1] and chain_before(packed[i + 1]) or values[4]
  kept[i] = text_of_packed(feed, values[1], after + i, own, packed[i])
end
-- What the texts have after the reader's lengths: `spans_after` in `journal/texts.py`.
local spans, left = {}, MAX_READ_BYTES
local lengths, run = lengths_of(values[8] or '')
local held = {}
local held_lengths, held_run = lengths_of(texts == NO_READER and values[8] or texts)
if texts == NO_READER or (recovered == 1 and held_run == run) then
  for _, pair in ipairs(held_lengths) do
    held[pair[1]] = pair[2]
  end
end
for _, pair in ipairs(lengths) do
  local name, length = pair[1], pair[2]
  local at = held[name] or 0
  if at > length then
    at = 0
  end
  local ends = math.min(length, at + left)
  if ends > at then
    left = left - (ends - at)
    spans[#spans + 1] = { name, at, ends, redis.call('GETRANGE', text_key(keys.meta, name), at, ends - 1) }
  end
end
return { values[1], values[2], values[3], values[4], recovered, values[5], redis.call('HGETALL', keys.document), kept, start,
  values[8] or '', spans }
