"""The Lua scripts of the Redis journal, each verb one file in `lua/`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

# Scripts that write an event share `_event.lua`; Redis has no include, so the loader puts it in front.
_WRITERS = frozenset({"open", "append", "claim", "conclude", "cancel"})


@dataclass(frozen=True, slots=True)
class Script:
    """One script: its source, and the digest by which Redis knows it once it has seen it."""

    source: str
    digest: str


@cache
def script(name: str) -> Script:
    """Return the script `lua/<name>.lua`."""
    folder = files("petiole.journal") / "lua"
    source = (folder / f"{name}.lua").read_text(encoding="utf-8")
    if name in _WRITERS:
        source = (folder / "_event.lua").read_text(encoding="utf-8") + "\n" + source
    return Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())
