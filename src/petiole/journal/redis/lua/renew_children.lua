-- Prolongs the leases of children of a group.
-- KEYS: meta, document, facts, message, leases, pending
-- ARGV: run, lease (in ms), from REST on numbers
-- Reply: {1 if the group's run goes on, 1 if cancelling was asked for (2: by force), 1 if it is stalled}
local meta = load_meta()
if not meta then
  return { 0, 0, 0 }
end
local valid = not is_terminal(meta.state) and integer(meta.run) == run
if valid then
  local ends = integer(now_ms() + tonumber(lease))
  for i = REST, #ARGV do
    redis.call('ZADD', group_key('alive'), 'XX', ends, ARGV[i])
  end
  for _, key in ipairs({ keys.meta, keys.document, keys.facts, keys.message }) do
    redis.call('PEXPIRE', key, LIMITS.live_ms)
  end
  keep_group_keys(LIMITS.live_ms)
end
return { valid and 1 or 0, meta.cancel, 0 }
