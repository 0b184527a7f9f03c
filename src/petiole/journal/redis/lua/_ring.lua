-- How scripts ring on a server of its own: every subscriber hears it.
local RING = 'PUBLISH'
