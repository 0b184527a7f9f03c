-- Groups: `journal/groups.py` decides the same. The loader puts this behind `_event.lua`.
-- In meta a group has `counts` (its children by state), `told` and `stage`.

local NO_ID = string.rep('\0', 16)

local function child_of(packed, at)
  local child, flags = {}, 0
  child.id, child.state, child.attempt, flags, child.done, child.since, child.first, child.after =
    struct.unpack(RECORD, packed, at)
  child.late, child.stops = flags % STOPS, flags >= STOPS
  return child
end

-- Whether the record at this place is of a child that has succeeded, and lets others follow: most have, and need no unpacking.
local function has_succeeded(packed, at)
  return string.byte(packed, at + STATE_AT) == CHILD.succeeded and string.byte(packed, at + FLAGS_AT) < STOPS
end

local function child_at(number)
  local from = number * RECORD_SIZE
  return child_of(redis.call('GETRANGE', group_key('children'), integer(from), integer(from + RECORD_SIZE - 1)), 1)
end

local function keep_child(number, child)
  local flags = child.late * LATE + (child.stops and STOPS or 0)
  local packed = struct.pack(RECORD, child.id, child.state, child.attempt, flags, child.done, child.since, child.first, child.after)
  redis.call('SETRANGE', group_key('children'), integer(number * RECORD_SIZE), packed)
end

-- A child's id as JSON text.
local function id_of(number, child)
  if child.id == NO_ID then
    return redis.call('HGET', group_key('ids'), integer(number)) or '""'
  end
  local hex = string.gsub(child.id, '.', function(byte) return string.format('%02x', string.byte(byte)) end)
  return '"' .. string.sub(hex, 1, 8) .. '-' .. string.sub(hex, 9, 12) .. '-' .. string.sub(hex, 13, 16) .. '-'
    .. string.sub(hex, 17, 20) .. '-' .. string.sub(hex, 21) .. '"'
end

local function numbers_in(text, size)
  local numbers = {}
  for number in string.gmatch(text, '%S+') do
    numbers[#numbers + 1] = tonumber(number)
  end
  if #numbers ~= size then
    error('the numbers of a group are spoiled; look for what else writes there')
  end
  return numbers
end

local function total_of(group)
  local total = 0
  for state = 0, CHILD_STATES - 1 do
    total = total + group.counts[state]
  end
  return total
end

-- A feed that was opened without children is a group of none.
local function load_group()
  local values = redis.call('HMGET', keys.meta, 'counts', 'told', 'stage')
  local group = { counts = {}, stage = values[3] or '0 null' }
  for at, number in ipairs(numbers_in(values[1] or string.rep('0 ', CHILD_STATES), CHILD_STATES)) do
    group.counts[at - 1] = number
  end
  local told = numbers_in(values[2] or '0 0 0 0 0 0 0', 7)
  group.told, group.untold, group.partly, group.errors = told[1], told[2], told[3], told[4]
  group.rate, group.rate_at, group.rate_ended = told[5], told[6], told[7]
  if redis.call('STRLEN', group_key('children')) ~= total_of(group) * RECORD_SIZE or not string.match(group.stage, '^%d+ .') then
    error('the children of a group are spoiled; look for what else writes there')
  end
  return group
end

local function keep_group(group)
  local counts = {}
  for state = 0, CHILD_STATES - 1 do
    counts[state + 1] = integer(group.counts[state])
  end
  local told = string.format('%.0f %d %.0f %d %.6f %.0f %.0f', group.told, group.untold, group.partly, group.errors, group.rate,
    group.rate_at, group.rate_ended)
  redis.call('HSET', keys.meta, 'counts', table.concat(counts, ' '), 'told', told, 'stage', group.stage)
end

local function left_of(group)
  return group.counts[CHILD.queued] + group.counts[CHILD.running] + group.counts[CHILD.retrying]
end

local function move(group, before, after, number)
  group.counts[before] = group.counts[before] - (number or 1)
  group.counts[after] = group.counts[after] + (number or 1)
  if before ~= after then
    group.untold = 1
  end
end

-- Whether what follows a child can't run: `Child.is_void_making`.
local function is_void_making(child)
  return child.stops or child.state > CHILD.succeeded
end

-- `groups.end_of`: '' if it hasn't ended.
local function end_of(group, cancelled)
  if left_of(group) > 0 then
    return ''
  elseif cancelled and group.counts[CHILD.cancelled] > 0 then
    return CANCELLED
  elseif group.counts[CHILD.failed] + group.counts[CHILD.lost] > 0 then
    return FAILED
  end
  return group.counts[CHILD.cancelled] > 0 and CANCELLED or SUCCEEDED
end

-- Takes note that the group rings: `groups._told`.
local function take_told(group, now)
  local ended = total_of(group) - left_of(group)
  if group.rate_at == 0 then
    group.rate_at, group.rate_ended = now, ended
  elseif now - group.rate_at >= RATE_EVERY then
    local weight = 1 - math.exp((group.rate_at - now) / RATE_OVER)
    local newest = (ended - group.rate_ended) * 1000 / (now - group.rate_at)
    group.rate = group.rate == 0 and newest or group.rate + weight * (newest - group.rate)
    group.rate_at, group.rate_ended = now, ended
  end
  group.told, group.untold = now, 0
end

-- `groups.progress_of`, as JSON text.
local function progress_of(group)
  local total, waiting = total_of(group), left_of(group)
  local ended = total - waiting
  local fraction = total > 0 and math.floor((ended * WHOLE + group.partly) / total) / WHOLE or 1
  local place, name = string.match(group.stage, '^(%d+) (.*)$')
  local children = {}
  for i, state in ipairs(CHILD_NAMES) do
    children[i] = '"' .. state .. '":' .. integer(group.counts[i - 1])
  end
  local left = group.rate > 0 and waiting > 0 and ended >= MIN_ENDED and integer(math.floor(waiting / group.rate)) or 'null'
  return '{"completed":' .. integer(ended) .. ',"total":' .. integer(total) .. ',"fraction":' .. string.format('%.4f', fraction)
    .. ',"rate":' .. (group.rate > 0 and string.format('%.3f', group.rate) or 'null') .. ',"time_left":' .. left
    .. ',"stage":' .. (place == '0' and 'null' or name) .. ',"step":' .. (place == '0' and 'null' or place)
    .. ',"unit":"tasks","description":null,"children":{' .. table.concat(children, ',') .. '}}'
end

-- What the group says of itself when it comes to a state, into a patch: `groups.said_of`.
local function say_state(patch, group, state, now)
  local function set(name, value)
    patch[#patch + 1], patch[#patch + 2] = name, value
  end
  set('state', '"' .. state .. '"')
  if is_terminal(state) then
    local failed = group.counts[CHILD.failed] + group.counts[CHILD.lost]
    set('finished_at', integer(now))
    set('reason', state == FAILED
      and '"' .. integer(failed) .. ' of ' .. integer(total_of(group)) .. ' tasks failed."' or 'null')
  else
    set('started_at', integer(now))
  end
  set('unheard', 'null')
end

-- Rings a group: as a fact, if there is a patch.
local function tell(meta, group, feed, channel, id, patch, state, now)
  take_told(group, now)
  local fields = {}
  for i = 1, #patch, 2 do
    fields[#fields + 1] = '"' .. patch[i] .. '":' .. patch[i + 1]
  end
  local fact = #patch > 0
  local event = {
    channel = channel, feed = feed, run = meta.run, id = id, fact = fact, progress = progress_of(group), state = state,
    patch = patch,
    body = '"kind":"' .. (fact and 'state' or COUNTER) .. '","patch":{' .. table.concat(fields, ',') .. '}',
  }
  write(meta, event, is_terminal(state))
end
