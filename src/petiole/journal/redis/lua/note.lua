-- Writes a note over the expected text.
-- KEYS: note
-- ARGV: expected ('' for none), text ('' takes the note away), lifetime (in ms)
-- Reply: the text that was there, or ''
local before = redis.call('GET', keys.note) or ''
if before == expected then
  if text == '' then
    redis.call('DEL', keys.note)
  else
    redis.call('SET', keys.note, text, 'PX', lifetime)
  end
end
return before
