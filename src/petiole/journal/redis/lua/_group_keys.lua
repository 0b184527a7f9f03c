-- Beside its feed's keys a group has `children` (a string of records), `alive` (the leases of the children that run, by
-- number), and the hashes `failures` and `messages` (number → JSON text) and `ids` (number → id as JSON text, of those that are
-- no UUIDs). The loader puts this in front of `_event.lua`.
local GROUP_KEYS = { 'children', 'alive', 'failures', 'messages', 'ids' }

local function group_key(name)
  return string.sub(keys.meta, 1, -5) .. name
end

local function keep_group_keys(lifetime)
  for _, name in ipairs(GROUP_KEYS) do
    redis.call('PEXPIRE', group_key(name), lifetime)
  end
end

local function is_group(feed)
  return string.sub(feed, 1, 6) == 'group:'
end

local function delete_group_keys(feed)
  if is_group(feed) then
    for _, name in ipairs(GROUP_KEYS) do
      redis.call('DEL', group_key(name))
    end
  end
end
