-- Returns where those feeds of one partition stand that don't stand where they are known to.
-- KEYS: from EACH_KEY on meta of each
-- ARGV: from REST on for each feed the cursor where it is known to stand, or ''
-- Reply: of each that stands elsewhere or was removed (no owner) {number of the key, epoch, seq, facts, chain, owner}, of
--        each that is unknown {number of the key}
local answers = {}
for i = EACH_KEY, #KEYS do
  -- Protected: a key that was spoiled by somebody else hides its own feed only.
  local values = redis.pcall('HMGET', KEYS[i], 'epoch', 'seq', 'facts', 'chain', 'owner')
  if values.err and not string.find(values.err, 'WRONGTYPE', 1, true) then
    return values
  end
  if not values.err and values[1] then
    if values[5] == '' or table.concat(values, '.', 1, 4) ~= ARGV[REST + i - EACH_KEY] then
      answers[#answers + 1] = {i, unpack(values)}
    end
  else
    answers[#answers + 1] = {i}
  end
end
return answers
