-- Rings for a journal that isn't here.
-- KEYS: channel
-- ARGV: 1 the event's text
redis.call(RING, KEYS[1], ARGV[1])
return 1
