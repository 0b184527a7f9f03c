"""The Lua scripts of the Redis journal, each verb one file in `lua/`."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import NamedTuple

# What scripts share; Redis has no include, so the loader puts it in front.
_SHARED = (
    dict.fromkeys(("read", "snapshot"), ("_fact",))
    | dict.fromkeys(("open", "append", "claim", "conclude", "cancel", "rebase"), ("_fact", "_event"))
    | dict.fromkeys(("notify", "acknowledge"), ("_fact", "_event", "_inbox"))
)


class Script(NamedTuple):
    """One script: its source, and the digest by which Redis knows it once it has seen it."""

    source: str
    digest: str

    @classmethod
    def of(cls, source: str) -> Script:
        """Return the script with this source."""
        return cls(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


class Limits(NamedTuple):
    """How much a feed keeps; in ms, how long its keys live while its task lives, and after its end, and a run's lease; and how
    many publications that have ended it knows."""

    facts: int
    bytes: int
    live_ms: int
    kept_ms: int
    lease_ms: int
    publications: int


class Scripts:
    """The scripts `lua/<name>.lua` as one journal runs them: ringing on a server or in a cluster, within its limits.

    The limits stand in the scripts: as arguments they would be packed, sent and read again at each append.
    """

    def __init__(self, limits: Limits, *, cluster: bool) -> None:
        self._limits = limits
        self._cluster = cluster
        self.get = cache(self._load)

    def _load(self, name: str) -> Script:
        folder = files("petiole.journal.redis") / "lua"
        shared = _SHARED.get(name, ())
        parts = [(folder / f"{part}.lua").read_text(encoding="utf-8") for part in (*shared, name)]
        if "_event" in shared:
            limits = ", ".join(f"{field} = {value}" for field, value in self._limits._asdict().items())
            ring = (folder / ("_ring_sharded.lua" if self._cluster else "_ring.lua")).read_text(encoding="utf-8")
            parts[:0] = [ring, f"local LIMITS = {{ {limits} }}"]
        return Script.of("\n".join(parts))
