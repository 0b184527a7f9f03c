-- Writes a note where there is the expected text.
-- KEYS: note
-- ARGV: 1 the text expected, '' for none, 2 the new text, '' to take the note away, 3 lifetime in ms
-- Reply: the text that was there, '' for none
local before = redis.call('GET', KEYS[1]) or ''
if before == ARGV[1] then
  if ARGV[2] == '' then
    redis.call('DEL', KEYS[1])
  else
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  end
end
return before
