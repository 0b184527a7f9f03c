"""A feed that the relay follows, and the event that says where a feed is."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from petiole.protocol.events import COUNTER, Cursor, Draft, Event
from petiole.protocol.reader import Reader


@dataclass(slots=True)
class Followed:
    """One feed's reader, for all its watchers. `healing`: it is being read from the journal."""

    reader: Reader
    watchers: int = 0
    healing: bool = False
    # Held while the reader decides and emits, so that events leave in its order; never while the journal is read.
    lock: threading.Lock = field(default_factory=threading.Lock)


def counter_at(feed: str, cursor: Cursor, *, run: int, progress: dict[str, Any] | None) -> Event:
    """Return a counter that says where a feed stands, its texts too: counters and chunks aren't kept as events."""
    return Event(
        id=Draft(COUNTER).id,
        feed=feed,
        epoch=cursor.epoch,
        seq=cursor.seq,
        run=run,
        facts=cursor.facts,
        chain=cursor.chain,
        at=int(time.time() * 1000),
        kind=COUNTER,
        patch={},
        progress=progress,
        texts=cursor.texts,
    )
