"""The relay of one web process: follows the watched feeds and emits their events to their rooms.

It reads each feed by the reader's rule, once for all its watchers: what the bus loses, doubles or swaps is made good from the
journal before it goes out. A browser reads by the same rule, so an event that reaches it twice does no harm.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

from petiole.bus import Bus
from petiole.errors import InvalidEvent, PetioleError, Unavailable
from petiole.journal import Journal
from petiole.journal.answers import Gone, Snapshot
from petiole.logs import logger
from petiole.loop import Loop
from petiole.protocol.events import Cursor, Event, EventHeader
from petiole.protocol.reader import Action, Read, Reader, Reading, Reset, Show, Write
from petiole.settings import Settings
from petiole.web.relay.followed import Followed, counter_at
from petiole.web.relay.heads import HeadCheck
from petiole.web.relay.reads import SharedReads

log = logger(__name__)

TICK: Final = 1.0
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 2.0
PROBE_TIMEOUT: Final = 2.0

# Given a feed, the event that says where it stands.
Position: TypeAlias = Callable[[str], dict[str, Any] | None]


class Emit(Protocol):
    """Sends a message, its payload as JSON text, to every connection of this process that watches `feed`; must not block."""

    def __call__(self, name: str, text: str, *, feed: str) -> None: ...


class Relay:
    """`spawn` starts a background task of the server's own kind (thread or greenlet).

    `gone` is called with a watched feed that was taken away, or that the journal doesn't know any more, in a task of its own.
    `begun_again` is called with one that is in another epoch, and its owner, before its watchers are told.
    """

    def __init__(
        self,
        journal: Journal,
        bus: Bus,
        settings: Settings,
        *,
        emit: Emit,
        spawn: Callable[..., object],
        catch_up: Callable[[Position], None] = lambda _position: None,
        gone: Callable[[str, Gone], None] = lambda _feed, _why: None,
        begun_again: Callable[[str, str], None] = lambda _feed, _owner: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._bus = bus
        self._settings = settings
        self._emit = emit
        self._spawn = spawn
        self._catch_up = catch_up
        self._begun_again = begun_again
        self._clock = clock
        self._feeds: dict[str, Followed] = {}
        self._tick = min(TICK, settings.head_check)
        # Feeds that nobody watches any more, and since when.
        self._left: dict[str, float] = {}
        self._lock = threading.Lock()
        self._started = False
        self._closed = threading.Event()
        self._check_now = threading.Event()
        self._reads = SharedReads()
        self._deaf = 0
        self._heads = HeadCheck(
            journal,
            settings,
            self._feeds,
            tick=self._tick,
            act=self._act,
            gone=lambda feed, why: self._spawn(gone, feed, why),
            closed=self._closed,
            clock=clock,
        )
        # Both wait within their turns.
        self.loops = (
            Loop("listening to the bus", self._listen, hangs_after=math.inf, longest=LONGEST_PAUSE),
            Loop("comparison with the journal", self._look_after, longest=LONGEST_PAUSE, clock=clock),
        )
        self._next_probe = self._next_turn = 0.0

    @property
    def deaf(self) -> bool:
        """Whether the last probe of the bus was lost while the journal answered."""
        return self._deaf > 0

    def watch(self, feed: str, cursor: Cursor | None, *, texts: bool = True) -> Reading | None:
        """Follow a feed for one more watcher and return what follows `cursor`; `None` for an unknown feed.

        `texts`: whether it reads the feed's texts.

        The caller has joined the room already: what happens from here on reaches it as events.

        Raises:
            PetioleError: the journal didn't answer, or can't read it. The feed isn't watched.
        """
        self._start()
        with self._lock:
            followed = self._feeds.get(feed)
            if followed is None:
                followed = self._feeds[feed] = Followed(Reader(feed, keep_document=False))
                self._heads.hear(feed)
            followed.watchers += 1
            self._left.pop(feed, None)
        try:
            # Answer even if this wasn't confirmed in time: the head check heals what was missed.
            self._bus.follow(feed, timeout=self._settings.follow_timeout)
            reading = self.read(feed, cursor, texts=texts)
            if reading is not None and followed.reader.cursor is None:
                self._begin(followed, reading)
        except BaseException:
            self.unwatch(feed)
            raise
        if reading is None:
            self.unwatch(feed)
        return reading

    def read(self, feed: str, cursor: Cursor | None, *, texts: bool = True) -> Reading | None:
        """Return what follows `cursor`, as `watch` does, for a watcher that the relay knows already."""
        limit = self._settings.read_limit
        return self._reads.share(
            ("read", feed, cursor, texts), lambda: self._journal.read(feed, cursor, limit=limit, texts=texts)
        )

    def snapshot(self, feed: str) -> Snapshot | None:
        """Return the journal's snapshot, read for all who ask at the same time.

        Raises:
            Unavailable: the journal didn't answer.
        """
        return self._reads.share(("snapshot", feed), lambda: self._journal.snapshot(feed))

    def unwatch(self, feed: str) -> None:
        """Forget one watcher; the feed is followed for a while longer, because pages reload."""
        with self._lock:
            followed = self._feeds.get(feed)
            if followed is not None:
                followed.watchers -= 1
                if followed.watchers <= 0:
                    self._left[feed] = self._clock()

    def close(self) -> None:
        """Stop following and end the background tasks."""
        self._closed.set()
        for loop in self.loops:
            loop.close()
        self._check_now.set()
        self._bus.close()

    def _start(self) -> None:
        with self._lock:
            if self._started:
                return
            self._started = True
        # The first watcher's own read comes before the first comparison.
        self._next_probe = self._clock()
        self._next_turn = self._next_probe + self._tick
        for loop in self.loops:
            self._spawn(loop.run)

    def _listen(self) -> float:
        # Blocks until it is closed, or fails.
        self._bus.listen(self._ring, on_return=self._check_now.set)
        self.loops[0].close()
        return 0.0

    def _begin(self, followed: Followed, reading: Reading) -> None:
        """Put the relay's own reader at the feed's head."""
        feed = reading.feed
        cursor = reading.cursor
        if reading.more:
            snapshot = self.snapshot(feed)
            if snapshot is None:
                return
            cursor = snapshot.cursor
        with followed.lock:
            if followed.reader.cursor is None:
                actions = followed.reader.answer(Reading(feed, {}, (), cursor, recovered=False))
                # The reset is only the reader's beginning: every watcher reads for itself.
                self._act(followed, [action for action in actions if not isinstance(action, Reset)])

    def _ring(self, feed: str, text: str | bytes) -> None:
        followed = self._feeds.get(feed)
        if followed is None:
            return
        try:
            said = text if isinstance(text, str) else text.decode()
            numbers = EventHeader.from_text(said)
            with followed.lock:
                if numbers is not None and followed.reader.step(numbers):
                    # What nearly every ring is: the next event. It goes on as the journal wrote it.
                    self._emit("event", said, feed=feed)
                    self._heads.hear(feed)
                else:
                    self._act(followed, followed.reader.offer(Event.from_text(said)))
        except (InvalidEvent, UnicodeDecodeError) as error:
            log.error("event_set_aside", extra={"feed": feed, "error": str(error)})

    def _act(self, followed: Followed, actions: list[Action], reading: Reading | None = None) -> None:
        feed = followed.reader.feed
        for action in actions:
            match action:
                case Show(event) | Write(_, Event() as event):
                    self._emit("event", event.to_text(), feed=feed)
                case Reset(cursor) if reading is not None:
                    # Each page reads the texts for itself.
                    more = bool(cursor.texts)
                    snapshot = Reading(feed, reading.document, (), cursor.place, recovered=False, more=more)
                    self._emit("reset", snapshot.to_text(), feed=feed)
                case Read() if not followed.healing:
                    followed.healing = True
                    self._spawn(self._heal, followed)

    def _heal(self, followed: Followed) -> None:
        """Read from the journal until the feed's reader follows again."""
        pause = FIRST_PAUSE
        feed = followed.reader.feed
        while not self._closed.is_set() and self._feeds.get(feed) is followed:
            with followed.lock:
                asked = followed.reader.cursor
            try:
                reading = self.read(feed, asked)
                if reading is not None and asked is not None and reading.cursor.epoch != asked.epoch:
                    # Before anybody is told: its id may have been used again, for somebody else.
                    snapshot = self.snapshot(feed)
                    if snapshot is not None:
                        self._begun_again(feed, snapshot.owner)
                with followed.lock:
                    # Somebody may have put the reader at the head meanwhile: then this answer is older than what it knows.
                    if reading is not None and followed.reader.reading and followed.reader.cursor == asked:
                        self._heal_with(followed, reading, asked)
                    if reading is None or not followed.reader.reading:
                        # An unknown feed is asked for again at the next head check: its writer may open it anew.
                        followed.healing = False
                        return
            except Exception as error:
                # Whatever it was: nobody else heals this feed.
                if not isinstance(error, Unavailable):
                    log.exception("feed_unreadable", extra={"feed": feed})
                self._closed.wait(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, LONGEST_PAUSE)
        followed.healing = False

    def _heal_with(self, followed: Followed, reading: Reading, asked: Cursor | None) -> None:
        feed = reading.feed
        log.info("gap_healed", extra={"feed": feed, "facts": len(reading.events)})
        actions = followed.reader.answer(reading)
        reset = any(isinstance(action, Reset) for action in actions)
        last = reading.events[-1].cursor if reading.events else asked
        if not reset and not reading.more and last not in (None, reading.cursor):
            # Counters and chunks aren't kept as events: a page that lacks them applies this one, or reads.
            at = len(reading.events)
            run = int(reading.document.get("run") or 0)
            progress = reading.document.get("progress")
            actions.insert(at, Show(counter_at(feed, reading.cursor, run=run, progress=progress)))
        self._act(followed, actions, reading)

    def _look_after(self) -> float:
        """Compare watched feeds with the journal, probe the bus, and let go of feeds that nobody watches."""
        self._check_now.wait(max(self._next_turn - self._clock(), 0.0))
        if self._closed.is_set():
            return 0.0
        now = self._clock()
        self._let_go(now)
        if now >= self._next_turn:
            self._heads.turn()
            self._next_turn = now + self._tick
        with self._lock:
            if self._check_now.is_set():
                # Before they are compared: the bus may return once more meanwhile.
                self._check_now.clear()
                self._heads.include(self._feeds)
            probes = now >= self._next_probe and bool(self._feeds)
            if not self._heads.has_work() and probes:
                # Only a bus that is silent while the journal answers is deaf, so the journal is asked in any case.
                self._heads.include([next(iter(self._feeds))])
        if probes:
            self._next_probe = now + self._settings.head_check
        if self._heads.compare() and probes:
            self._deaf = 0 if self._bus.probe(timeout=PROBE_TIMEOUT) else self._deaf + 1
            if self._deaf and self._deaf % 2 == 0:
                reason = self._bus.trouble or "What was sent to itself has not come back."
                log.warning("bus_deaf", extra={"feeds": len(self._feeds), "reason": reason})
                self._bus.restart()
        # Last: it is the one part that calls what isn't ours.
        self._catch_up(self._position)
        return 0.0

    def _position(self, feed: str) -> dict[str, Any] | None:
        """Return a counter of where the feed stands, by which a reader that is behind sees that it must read."""
        try:
            snapshot = self.snapshot(feed)
        except PetioleError:
            return None
        if snapshot is None:
            return None
        run = int(snapshot.document.get("run") or 0)
        return counter_at(feed, snapshot.cursor, run=run, progress=snapshot.document.get("progress")).to_wire()

    def _let_go(self, now: float) -> None:
        with self._lock:
            left = [feed for feed, at in self._left.items() if now - at >= self._settings.linger]
            for feed in left:
                del self._left[feed], self._feeds[feed]
                self._heads.forget(feed)
                self._bus.unfollow(feed)
