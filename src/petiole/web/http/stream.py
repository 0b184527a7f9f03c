"""Events as a server-sent stream: for `EventSource` and curl, where there is no Socket.IO."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final, NamedTuple

from petiole.errors import Unavailable
from petiole.journal import Journal
from petiole.protocol.events import ZERO_CHAIN, Cursor, Event
from petiole.protocol.reader import Reading
from petiole.protocol.states import is_terminal
from petiole.protocol.texts import TEXT, Texts
from petiole.web.relay.followed import counter_at

MEDIA_TYPE: Final = "text/event-stream"
LOOK: Final = 1.0
# While a text grows; for one `LOOK` after its last chunk.
TEXT_LOOK: Final = 0.1
KEEP_ALIVE: Final = 15.0


class Block(NamedTuple):
    """One event of the stream. `cursor`, its id, is where a client that has it goes on."""

    kind: str
    cursor: Cursor
    data: dict[str, Any]

    def __str__(self) -> str:
        return f"id: {self.cursor}\nevent: {self.kind}\ndata: {json.dumps(self.data)}\n\n"


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
    """Yield what follows `cursor` until the task has ended; looks into the journal every second, more often while a text grows.

    Every `rights_check` seconds `may_watch(owner)` is asked again; refused, the stream ends. `owner`: whose feed it is.

    Each event's id is a cursor, so that an `EventSource` that reconnects goes on from there. A cursor that can't be continued
    from is answered by the event `reset` with a reading. What a text has had before a fact comes before the fact: whoever
    stops at the one that ends the task has all of it.
    """
    quiet = 0.0
    checked = clock()
    grows_until = checked
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
        said = 0
        for block in blocks(reading, cursor):
            yield str(block)
            cursor = block.cursor
            said += 1
        if reading.more:
            continue
        if is_terminal(reading.document.get("state")):
            return
        if reading.chunks:
            grows_until = clock() + LOOK
        pause = TEXT_LOOK if clock() < grows_until else LOOK
        quiet = 0.0 if said else quiet + pause
        if quiet >= KEEP_ALIVE:
            quiet = 0.0
            yield ": still here\n\n"
        sleep(pause)


def blocks(reading: Reading, before: Cursor | None) -> Iterator[Block]:
    """Yield what a stream that stands at `before` says of a reading; with `more` it goes on from the last one's cursor.

    Facts wait until the texts are said as far as they were written before them.
    """
    last = before or Cursor(reading.cursor.epoch, 0, 0, ZERO_CHAIN)
    if not reading.recovered:
        # Without its facts: those that are kept come one by one, as all others.
        last = (reading.start or reading.cursor).place
        yield Block("reset", last, replace(reading, events=(), chunks=(), cursor=last, more=False).to_wire())
    facts = deque(reading.events)
    while facts and not _is_ahead(facts[0].texts, last.texts):
        last = facts[0].cursor.at_texts(last.texts)
        yield _fact_block(facts.popleft(), last)
    for block in _text_blocks(reading, last):
        yield block
        last = block.cursor
    while facts:
        if reading.more and reading.chunks and _is_ahead(facts[0].texts, last.texts):
            return
        last = facts[0].cursor.at_texts(last.texts)
        yield _fact_block(facts.popleft(), last)
    progress = reading.document.get("progress")
    if not reading.more and progress and last.seq < reading.cursor.seq:
        run = int(reading.document.get("run") or 0)
        event = counter_at(reading.feed, reading.cursor, run=run, progress=progress)
        yield Block(event.kind, reading.cursor, event.to_wire())


def _fact_block(fact: Event, at: Cursor) -> Block:
    return Block(fact.kind, at, fact.to_wire())


def _text_blocks(reading: Reading, at: Cursor) -> Iterator[Block]:
    """Yield what a reading has of the texts; first, if another run has begun its own, that those before are void."""
    texts, run = at.texts, reading.cursor.texts.run
    if run != texts.run:
        if texts:
            yield Block("clear", at.at_texts(Texts(run)), {"feed": reading.feed, "run": run})
        texts = Texts(run)
    for chunk in reading.chunks:
        texts = texts.grown(chunk.name, chunk.end)
        yield Block(TEXT, at.at_texts(texts), {"feed": reading.feed, "run": run, **chunk.to_wire()})


def _is_ahead(texts: Texts, held: Texts) -> bool:
    """Say whether there was more of the texts than `held` when these lengths were said."""
    held = held.of_run(max(texts.run, held.run))
    return texts.run == held.run and any(held.length(name) < length for name, length in texts.lengths)
