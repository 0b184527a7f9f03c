-- Lists the running children of a group whose lease has ended, and says when to look again.
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: feed, limit, again (if there are any, in ms), wait (if none runs, in ms)
-- Reply: {run, of each {number, id (JSON text), attempt, 1 if it is acknowledged late, since}}
local meta = load_meta()
if not meta or is_terminal(meta.state) then
  redis.call('ZREM', keys.leases, feed)
  return { '0', {} }
end
local now, found = now_ms(), {}
for _, number in ipairs(redis.call('ZRANGEBYSCORE', group_key('alive'), '-inf', integer(now), 'LIMIT', 0, limit)) do
  local child = child_at(tonumber(number))
  if child.state == CHILD.running then
    found[#found + 1] = { number, id_of(tonumber(number), child), integer(child.attempt), integer(child.late), integer(child.since) }
  else
    redis.call('ZREM', group_key('alive'), number)
  end
end
local next = now + tonumber(#found > 0 and again or wait)
if #found == 0 then
  local first = redis.call('ZRANGE', group_key('alive'), 0, 0, 'WITHSCORES')
  next = first[2] and math.min(tonumber(first[2]), next) or next
end
redis.call('ZADD', keys.leases, integer(next), feed)
return { integer(meta.run), found }
