"""The Lua scripts of the Redis journal, each verb one file in `lua/`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

# What scripts share; Redis has no include, so the loader puts it in front.
_SHARED = (
    dict.fromkeys(("read", "snapshot"), ("_fact",))
    | dict.fromkeys(("open", "append", "claim", "conclude", "cancel", "rebase"), ("_fact", "_event"))
    | dict.fromkeys(("notify", "acknowledge"), ("_fact", "_event", "_inbox"))
)


@dataclass(frozen=True, slots=True)
class Script:
    """One script: its source, and the digest by which Redis knows it once it has seen it."""

    source: str
    digest: str


@cache
def script(name: str, *, cluster: bool = False) -> Script:
    """Return the script `lua/<name>.lua`, as it rings on a server or in a cluster."""
    folder = files("petiole.journal") / "lua"
    # The first of the shared parts rings.
    shared = _SHARED.get(name, ())
    ring = ("_ring_sharded" if cluster else "_ring",) if "_event" in shared else ()
    parts = (*ring, *shared, name)
    source = "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in parts)
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())
