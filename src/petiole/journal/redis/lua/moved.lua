-- Returns where those feeds of one partition stand that don't stand where they are known to.
-- KEYS: the meta key of each feed
-- ARGV: for each feed the cursor where it is known to stand, or ''
-- Reply: {number of the key, epoch, seq, facts, chain, owner} of each that stands elsewhere, or was taken away (no owner);
--        {number of the key} of each that is unknown
local answers = {}
for i = 1, #KEYS do
  -- Protected: a key that was spoiled by somebody else hides its own feed only.
  local values = redis.pcall('HMGET', KEYS[i], 'epoch', 'seq', 'facts', 'chain', 'owner')
  if values.err and not string.find(values.err, 'WRONGTYPE', 1, true) then
    return values
  end
  if not values.err and values[1] then
    if values[5] == '' or table.concat(values, '.', 1, 4) ~= ARGV[i] then
      answers[#answers + 1] = {i, unpack(values)}
    end
  else
    answers[#answers + 1] = {i}
  end
end
return answers
