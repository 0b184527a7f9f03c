-- How scripts ring in a cluster: within the shard, which Redis can from 7.0 on, as it has told scripts its version. The bus asks
-- the same node the same question.
local RING = redis.REDIS_VERSION_NUM and 'SPUBLISH' or 'PUBLISH'
