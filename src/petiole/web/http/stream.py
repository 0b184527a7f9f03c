"""Events as a server-sent stream: for `EventSource` and curl, where there is no Socket.IO."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from petiole.errors import Unavailable
from petiole.journal import Journal
from petiole.protocol.events import Cursor
from petiole.protocol.reader import Reading
from petiole.protocol.states import is_terminal
from petiole.web.relay.followed import counter_at

MEDIA_TYPE: Final = "text/event-stream"
LOOK: Final = 1.0
KEEP_ALIVE: Final = 15.0


def stream(
    journal: Journal,
    feed: str,
    cursor: Cursor | None,
    *,
    owner: str,
    limit: int,
    sleep: Callable[[float], object],
    may_watch: Callable[[str], bool],
    rights_check: float,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[str]:
    """Yield what follows `cursor` until the task has ended; looks into the journal every second.

    Every `rights_check` seconds `may_watch(owner)` is asked again; refused, the stream ends. `owner`: whose feed it is.

    Each event's id is a cursor, so that an `EventSource` that reconnects goes on from there. A cursor that can't be continued
    from is answered by the event `reset` with a reading.
    """
    quiet = 0.0
    checked = clock()
    while True:
        try:
            if clock() - checked >= rights_check:
                head = journal.heads([feed]).get(feed)
                # An inbox that nothing has come into is no feed yet, and whose it is can't change.
                found = owner if head is None and feed.startswith("user:") else head.owner if head else ""
                if not found or not may_watch(found):
                    return
                checked = clock()
            reading = journal.read(feed, cursor, limit=limit)
        except Unavailable:
            yield ": the journal is away\n\n"
            sleep(KEEP_ALIVE / 5)
            continue
        if reading is None:
            return
        said = list(_said(reading, cursor))
        yield from said
        cursor = reading.cursor
        if reading.more:
            continue
        if is_terminal(reading.document.get("state")):
            return
        quiet = 0.0 if said else quiet + LOOK
        if quiet >= KEEP_ALIVE:
            quiet = 0.0
            yield ": still here\n\n"
        sleep(LOOK)


def _said(reading: Reading, before: Cursor | None) -> Iterator[str]:
    last = before
    if not reading.recovered:
        # Without its facts: those that are kept come one by one, as all others.
        last = reading.start or reading.cursor
        yield _block("reset", last, replace(reading, events=(), cursor=last, more=False).to_wire())
        if reading.start is None:
            return
    for event in reading.events:
        last = event.cursor
        yield _block(event.kind, last, event.to_wire())
    progress = reading.document.get("progress")
    if not reading.more and progress and (last is None or last.seq < reading.cursor.seq):
        run = int(reading.document.get("run") or 0)
        event = counter_at(reading.feed, reading.cursor, run=run, progress=progress)
        yield _block(event.kind, reading.cursor, event.to_wire())


def _block(kind: str, cursor: Cursor, data: dict[str, Any]) -> str:
    return f"id: {cursor}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"
