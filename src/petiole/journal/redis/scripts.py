"""The Lua scripts of the Redis journal, each verb one file in `lua/`, as the loader puts them together."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

from petiole.journal.redis.calls import SCRIPTS
from petiole.journal.redis.tables import TABLES

# What scripts share; Redis has no include, so the loader puts it in front.
_SHARED: Final = (
    dict.fromkeys(("renew",), ("_text",))
    | dict.fromkeys(("remove", "forget"), ("_text", "_group_keys"))
    | dict.fromkeys(("read", "snapshot"), ("_text", "_fact"))
    | dict.fromkeys(
        ("open", "append", "claim", "conclude", "rebase", "open_group"), ("_text", "_fact", "_group_keys", "_event")
    )
    | dict.fromkeys(
        ("contribute", "expired_children", "renew_children", "repeat_children", "cancel"),
        ("_text", "_fact", "_group_keys", "_event", "_group"),
    )
    | dict.fromkeys(("notify", "acknowledge"), ("_text", "_fact", "_group_keys", "_event", "_inbox"))
)
# Read at once: a thread that reads a package's file imports modules, and a process that is forked meanwhile would wait for ever
# for the lock of a module that nobody in it imports.
_SOURCES: Final = {
    file.name.removesuffix(".lua"): file.read_text(encoding="utf-8")
    for file in (files("petiole.journal.redis") / "lua").iterdir()
    if file.name.endswith(".lua")
}
_WORD: Final = re.compile(r"[A-Za-z_]+")
_COMMENT: Final = re.compile(r"--[^\n]*")


class Script(NamedTuple):
    """One script: its source, and the digest by which Redis knows it once it has seen it."""

    source: str
    digest: str

    @classmethod
    def of(cls, source: str) -> Script:
        """Return the script with this source."""
        return cls(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


class Limits(NamedTuple):
    """How much a feed keeps; in ms, how long its keys live while its task lives, and after its end, and a run's lease."""

    facts: int
    bytes: int
    live_ms: int
    kept_ms: int
    lease_ms: int


class Scripts:
    """The scripts `lua/<name>.lua` as one journal runs them: ringing on a server or in a cluster, within its limits.

    Limits and tables stand in the scripts: as arguments they would be packed, sent and read again at each append.
    """

    def __init__(self, limits: Limits, *, cluster: bool) -> None:
        self._limits = limits
        self._cluster = cluster
        self.get = cache(self._load)

    def _load(self, name: str) -> Script:
        parts = [read_lua(part) for part in (*_SHARED.get(name, ()), name)]
        if "_event" in _SHARED.get(name, ()):
            limits = ", ".join(f"{field} = {value}" for field, value in self._limits._asdict().items())
            parts[:0] = [read_lua("_ring_sharded" if self._cluster else "_ring"), f"local LIMITS = {{ {limits} }}"]
        words = set(_WORD.findall(_COMMENT.sub("", "\n".join(parts))))
        tables = [definition for word, definition in TABLES.items() if word in words]
        return Script.of("\n".join((SCRIPTS[name].names(), *tables, *parts)))


def read_lua(name: str) -> str:
    """Return the text of `lua/<name>.lua`."""
    return _SOURCES[name]
