-- Returns the document and the facts after a cursor, of one instant.
-- KEYS: meta, document, facts
-- ARGV: 1 epoch or '' (from the start), 2 seq, 3 facts, 4 chain, 5 limit, 6 feed
-- Reply: {} for an unknown feed | {epoch, seq, facts, chain, recovered, owner, document…, kept facts after the cursor…, and for
--        a reader without a cursor, where not all are kept, the number and the chain of the fact before those}
local values = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'facts', 'chain', 'owner', 'layout', 'removed')
if not values[1] or values[7] then
  return {}
end
check_layout(values[6])
local facts = tonumber(values[3])
local first = facts - redis.call('LLEN', KEYS[3]) + 1
local seq, after, chain = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local recovered = 1
local packed, start = {}, {}
if ARGV[1] == '' and first > 1 then
  after = first - 1
  packed = redis.call('LRANGE', KEYS[3], 0, ARGV[5])
  chain = #packed > 0 and chain_before(packed[1]) or values[4]
  recovered, start = 0, { integer(after), chain }
elseif ARGV[1] ~= '' and ARGV[1] ~= values[1] then
  recovered = 0
elseif after > facts or seq > tonumber(values[2]) or after + 1 < first then
  recovered = 0
elseif after == facts then
  if chain ~= values[4] then
    recovered = 0
  end
else
  -- One more than asked for: the chain of the last one stands in it.
  packed = redis.call('LRANGE', KEYS[3], after + 1 - first, after + 1 + tonumber(ARGV[5]) - first)
  if chain_before(packed[1]) ~= chain then
    recovered = 0
    packed = {}
  end
end
local kept = {}
for i = 1, math.min(#packed, tonumber(ARGV[5])) do
  local own = packed[i + 1] and chain_before(packed[i + 1]) or values[4]
  kept[i] = text_of_packed(ARGV[6], values[1], after + i, own, packed[i])
end
return { values[1], values[2], values[3], values[4], recovered, values[5], redis.call('HGETALL', KEYS[2]), kept, start }
