-- Shared by the scripts of an inbox; the loader puts it behind `_event.lua`.

local function remember(set, key, score)
  redis.call('ZADD', set, integer(score), key)
  redis.call('ZREMRANGEBYRANK', set, 0, -(INBOX_KEPT + 1))
end

-- patch: field, JSON text, …; unread: how many notices wait; shown: how many of them the document has
local function write_inbox(meta, kind, patch, unread, shown, data)
  for _, text in ipairs({ 'unread', integer(unread), 'earlier', integer(unread - shown) }) do
    patch[#patch + 1] = text
  end
  local fields = {}
  for i = 1, #patch, 2 do
    fields[#fields + 1] = '"' .. patch[i] .. '":' .. patch[i + 1]
  end
  local event = {
    channel = channel, feed = feed, run = 0, id = id, fact = true, progress = '', state = '', patch = patch,
    body = '"kind":"' .. kind .. '","patch":{' .. table.concat(fields, ',') .. '}' .. data,
  }
  write(meta, event, false)
end
