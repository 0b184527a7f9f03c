"""The key schema: which keys and channels a feed, an inbox, an owner and a note have."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from petiole.protocol.events import partition
from petiole.redis.client import Client

# For how many feeds a process caches the key names.
NAMES_KEPT: Final = 8192
# A feed's own keys. The message that starts its task is separate from its numbers: Redis stores a hash compactly only while
# all of its values are short (`hash-max-listpack-value`).
FEED_KEYS: Final = ("meta", "document", "facts", "message")


class Keys:
    """Keys and channels: the prefix, then the feed's partition as hash tag, then the feed."""

    def __init__(self, prefix: str, client: Client) -> None:
        self._prefix = prefix
        self.feed = lru_cache(NAMES_KEPT)(self._feed)
        self.channel = lru_cache(NAMES_KEPT)(self._channel)
        options = client.get_connection_kwargs()
        # Logical databases don't separate pub/sub, so the channel names its database.
        self._channels = f"{prefix}/{options.get('db') or 0}"

    def _feed(self, feed: str) -> tuple[str, ...]:
        """Return the keys of a feed: meta, document, facts, message, and its partition's leases and pending, in that order."""
        tag = self._tag(feed)
        own = [f"{tag}:{feed}:{part}" for part in FEED_KEYS]
        return (*own, f"{tag}:leases", f"{tag}:pending")

    def text(self, feed: str, name: str) -> str:
        """Return the key of one of a feed's texts; scripts make it of the feed's first key."""
        return f"{self._tag(feed)}:{feed}:text:{name}"

    def child(self, feed: str, name: str) -> str:
        """Return a group's key of this name; scripts make it of the feed's first key."""
        return f"{self._tag(feed)}:{feed}:{name}"

    def inbox(self, feed: str) -> list[str]:
        """Return the keys of an inbox: those of its feed, then its seen and its unread notices."""
        tag = self._tag(feed)
        return [*self.feed(feed), f"{tag}:{feed}:seen", f"{tag}:{feed}:unread"]

    def pending(self, index: int) -> str:
        """Return the key of a partition's finished tasks with an undelivered notice."""
        return f"{self._prefix}:{{{index:02}}}:pending"

    def leases(self, index: int) -> str:
        """Return the key of a partition's leases."""
        return f"{self._prefix}:{{{index:02}}}:leases"

    def owner(self, owner: str) -> str:
        """Return the key of an owner's index."""
        return f"{self._tag(owner)}:owner:{owner}"

    def note(self, name: str) -> str:
        """Return the key of a note."""
        return f"{self._tag(name)}:note:{name}"

    def _channel(self, feed: str) -> str:
        """Return the channel on which a feed rings."""
        return f"{self._channels}:{{{partition(feed):02}}}:{feed}"

    def feed_of(self, channel: str) -> str:
        """Return the feed that rings on this channel."""
        return channel.partition("}:")[2]

    def _tag(self, name: str) -> str:
        return f"{self._prefix}:{{{partition(name):02}}}"
