-- Returns a feed's document with its cursor and owner, of one instant.
-- KEYS: meta, document
-- Reply: {} for an unknown feed | {epoch, seq, facts, chain, owner, document…}
local values = redis.call('HMGET', keys.meta, 'epoch', 'seq', 'facts', 'chain', 'owner', 'layout', 'removed')
if not values[1] or values[7] then
  return {}
end
check_layout(values[6])
return { values[1], values[2], values[3], values[4], values[5], redis.call('HGETALL', keys.document) }
