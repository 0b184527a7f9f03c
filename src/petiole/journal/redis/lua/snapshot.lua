-- Returns a feed's document with its cursor and owner, of one instant.
-- KEYS: meta, document
-- Reply: {} for an unknown feed | {epoch, seq, facts, chain, owner, document…, lengths of the texts}
local values = redis.call('HMGET', keys.meta, 'epoch', 'seq', 'facts', 'chain', 'owner', 'layout', 'removed', 'texts')
if not values[1] or values[7] then
  return {}
end
check_layout(values[6])
return { values[1], values[2], values[3], values[4], values[5], redis.call('HGETALL', keys.document), values[8] or '' }
