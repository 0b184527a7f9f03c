-- Returns the document and the facts after a cursor, of one instant.
-- KEYS: meta, document, facts
-- ARGV: 1 epoch or '' (from the start), 2 seq, 3 facts, 4 chain, 5 limit
-- Reply: {} for an unknown feed | {epoch, seq, facts, chain, recovered, owner, document…, kept facts after the cursor…}
local values = redis.call('HMGET', KEYS[1], 'epoch', 'seq', 'facts', 'chain', 'owner', 'layout', 'removed')
if not values[1] or values[7] then
  return {}
end
if (values[6] or '1') ~= '1' then
  error('LAYOUT ' .. values[6])
end
local facts = tonumber(values[3])
local first = facts - redis.call('LLEN', KEYS[3]) + 1
local seq, after, chain = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local recovered = 1
local kept = {}
if ARGV[1] ~= '' and ARGV[1] ~= values[1] then
  recovered = 0
elseif after > facts or seq > tonumber(values[2]) or after + 1 < first then
  recovered = 0
elseif after == facts then
  if chain ~= values[4] then
    recovered = 0
  end
else
  kept = redis.call('LRANGE', KEYS[3], after + 1 - first, after + tonumber(ARGV[5]) - first)
  if string.sub(kept[1], 1, 16) ~= chain then
    recovered = 0
    kept = {}
  end
end
for i = 1, #kept do
  kept[i] = string.sub(kept[i], 17)
end
return { values[1], values[2], values[3], values[4], recovered, values[5], redis.call('HGETALL', KEYS[2]), kept }
