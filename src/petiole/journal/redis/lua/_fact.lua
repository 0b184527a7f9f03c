-- How a fact is kept, and what of it travels; the loader puts this in front of every script that writes or reads facts.
-- A feed's name and its epoch are the same for all of its facts, `facts` is a fact's place among them, and its chain stands
-- in front of the next one: what is kept is the rest.

local function check_layout(found)
  if tonumber(found) ~= LAYOUT then
    error('LAYOUT ' .. ((tonumber(found) or 0) > LAYOUT and 'newer' or 'older'))
  end
end

local function integer(number)
  return string.format('%.0f', number)
end

-- What an event says of its feed's texts, as JSON; '' for a feed without any.
local function said_of(texts)
  if texts == '' then
    return ''
  end
  local lengths, run = lengths_of(texts)
  for i, pair in ipairs(lengths) do
    lengths[i] = '"' .. pair[1] .. '":' .. integer(pair[2])
  end
  return ',"texts":{"run":' .. integer(run) .. ',"lengths":{' .. table.concat(lengths, ',') .. '}}'
end

-- The event's JSON text, of strings; body: its kind, patch and data, without the `"kind":` in front
local function text_of(feed, epoch, facts, chain, id, seq, run, at, body, progress, texts, version)
  return '{"v":' .. version .. ',"id":"' .. id .. '","feed":"' .. feed .. '","epoch":"' .. epoch .. '","seq":' .. seq
    .. ',"run":' .. run .. ',"facts":' .. facts .. ',"chain":"' .. chain .. '","at":' .. at .. said_of(texts)
    .. ',"kind":' .. body .. ',"progress":' .. (progress == '' and 'null' or progress) .. '}'
end

-- In front of a kept fact: the chain before it as two numbers, so that a read can check a cursor, and when it was taken.
local HEAD, HEAD_SIZE = '>I4I4I6', 14

local function pack_fact(before, id, seq, run, at, body, progress, texts)
  local high, low = tonumber(string.sub(before, 1, 8), 16), tonumber(string.sub(before, 9), 16)
  local head = struct.pack(HEAD, high, low, at)
  if texts == '' then
    return head .. cmsgpack.pack(id, seq, run, body, progress)
  end
  return head .. cmsgpack.pack(id, seq, run, body, progress, texts)
end

local function chain_before(packed)
  return #packed >= HEAD_SIZE and string.format('%08x%08x', struct.unpack(HEAD, packed)) or ''
end

-- Returns the text of a kept fact; empty if it was spoiled by somebody else.
local function text_of_packed(feed, epoch, facts, chain, packed)
  local whole, text = pcall(function()
    local _, _, at = struct.unpack(HEAD, packed)
    local id, seq, run, body, progress, texts = cmsgpack.unpack(string.sub(packed, HEAD_SIZE + 1))
    return text_of(feed, epoch, integer(facts), chain, id, integer(seq), integer(run), integer(at), body, progress,
      texts or '', VERSION)
  end)
  return whole and text or ''
end
