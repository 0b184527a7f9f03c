"""Everything that knows Redis: URLs, keys, clients, Sentinel, Cluster. Journal and bus import it."""
