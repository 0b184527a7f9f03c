-- The texts of a feed: each is a string of its own, beside the feed's other keys. Their lengths are in meta as they are in a
-- cursor: run~name~length~…, '' for a feed without texts. The loader puts this in front of every script that looks at texts.

local function text_key(meta_key, name)
  return string.sub(meta_key, 1, -5) .. 'text:' .. name
end

-- Returns a list of {name, length}, and the run.
local function lengths_of(texts)
  local lengths = {}
  for name, length in string.gmatch(texts, '~([^~]+)~(%d+)') do
    lengths[#lengths + 1] = { name, tonumber(length) }
  end
  return lengths, tonumber(string.match(texts, '^%d+') or '0')
end

local function text_keys(meta_key, texts)
  local found = {}
  for i, pair in ipairs((lengths_of(texts or ''))) do
    found[i] = text_key(meta_key, pair[1])
  end
  return found
end

local function delete_texts(meta_key, texts)
  for _, key in ipairs(text_keys(meta_key, texts)) do
    redis.call('DEL', key)
  end
end
