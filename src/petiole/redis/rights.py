"""What a user of Redis needs for each role: no more commands, keys and channels than the role uses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Rights:
    """A user's rights, as `ACL SETUSER` takes them; keys and channels of the prefix."""

    commands: tuple[str, ...]
    keys: bool = True
    channels: bool = True

    def rules(self, prefix: str) -> list[str]:
        """Return the rules for a new user and one key prefix; a Redis before version 7 lets a new user use every channel."""
        patterns = [f"~{prefix}:*"] * self.keys + [f"&{prefix}*"] * self.channels
        return ["resetchannels", *patterns, *(f"+{command}" for command in self.commands)]

    def less(self) -> list[Rights]:
        """Return these rights without each single one of them."""
        fewer = [
            replace(self, commands=tuple(other for other in self.commands if other != command))
            for command in self.commands
        ]
        return [*fewer, *[replace(self, keys=False)] * self.keys, *[replace(self, channels=False)] * self.channels]


# Scripts, what they use to write a task's or a group's feed, and the name of the connection.
_FEEDS: Final = (
    *("client|setname", "eval", "evalsha", "time", "publish", "del", "exists", "pexpire"),
    *("get", "getrange", "set", "setrange", "strlen", "rpush", "lpop", "zadd", "zrem", "zscore"),
    *("hdel", "hexists", "hget", "hgetall", "hlen", "hmget", "hset"),
)
# On one server, or behind Sentinels; a user of a cluster needs those of `RIGHTS` instead.
ROLES: Final = {
    "worker": Rights((*_FEEDS, "append", "info")),
    "web": Rights(
        (
            *(*_FEEDS, "ping", "subscribe", "unsubscribe", "hkeys", "hvals", "llen", "lrange"),
            *("zcard", "zrange", "zrangebyscore", "zremrangebyrank", "zrevrangebyscore"),
        )
    ),
    # Looks at everything and changes nothing: `petiole tasks`, `events`, `text` and `verify`.
    "doctor": Rights(
        (
            *("client|setname", "eval", "evalsha", "time", "info", "get", "getrange", "strlen", "llen", "lrange"),
            *("hget", "hgetall", "hmget", "zscore", "zrevrangebyscore"),
        ),
        channels=False,
    ),
}
