"""A world small enough for exhaustive exploration: two runs, a journal, a bus, a reader, and faults.

The reader is the real one (`petiole.protocol.reader.Reader`), and the journal decides by `petiole.journal.rules`; it keeps
hashable values. The writers follow the outbox: they send again what the journal has lost, or open the feed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Final

from petiole.journal import rules
from petiole.journal.answers import Closed, Conflict, Duplicate, Fenced, TextGap
from petiole.journal.texts import chunks_of, spans_after, texts_once_begun
from petiole.protocol import states
from petiole.protocol.events import COUNTER, NO_FACTS, VERSION, ZERO_CHAIN, Cursor, Document, Event
from petiole.protocol.reader import Action, Clear, Read, Reader, Reading, Reset, Show, Write
from petiole.protocol.texts import NO_TEXTS, TEXT, TEXT_VERSION, Chunk, Texts, size_of
from tests.unit.world import (
    AGAIN,
    CUT,
    DOUBLE,
    DROP,
    LOSS,
    REPLY,
    SLOW,
    STALE,
    SWAP,
    TRIM,
    Answer,
    Kept,
    Page,
    Place,
    Planned,
    Rules,
    Summary,
    Told,
    Violation,
    World,
    Writer,
    Written,
    added,
    lengths,
    written_by,
)

FEED: Final = "task:a"
READ_LIMIT: Final = 2
FACTS_SENT_AGAIN: Final = 1  # the number of acknowledged facts that a writer can send again: 256 in the outbox

Step = tuple[str, World, bool]


class Model:
    """The possible steps of a world, and its invariants."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._advance = cache(rules.advance)

    def begin(self) -> World:
        """Return the world in which the first run has just begun, and there is no page yet."""
        begun = Summary("running", 1, 0)
        empty = Kept(Place(_epoch(1), 0, 0, ZERO_CHAIN), begun, (), 1, 1, 1, 0, 0)
        journal, _ = self._write(empty, self._rules.plans[0][0], run=1)
        writers = (
            Writer(1, 1, 0, journal.cursor, begun, False),
            Writer(0, 0, 0, None, begun, False),
        )
        page = Page(None, None, True, True, (), 0, (), 0, False)
        return World(journal, None, writers, (), False, page, None, None, None, 0, 1)

    def steps(self, world: World) -> Iterator[Step]:
        """Yield the next possible steps: name, resulting world, and whether the step brings the page closer to the head.

        The first of the steps that do is the one that happens without further faults.
        """
        yield from self._transport(world)
        for number in (1, 0):
            writer = world.writers[number]
            if not writer.stopped and writer.at < len(self._rules.plans[number]):
                yield from self._say(world, number)
        yield from self._faults(world)

    def is_settled(self, world: World) -> bool:
        """Whether everything has been delivered and the head check finds nothing."""
        page = world.page
        if world.journal is None or not world.connected or world.bus or page.reading or world.head:
            return False
        if not self._rules.head_check:
            return True
        assert page.cursor is not None
        return not _thaw(page).head(_cursor(world.journal.cursor), asked=_cursor(page.cursor))

    def check_settled(self, world: World) -> None:
        """Check the guarantee in a settled world.

        Raises:
            Violation: it doesn't hold.
        """
        journal, page = world.journal, world.page
        assert journal is not None
        assert page.document is not None
        if page.cursor is None or page.cursor.bare != journal.cursor.bare:
            raise Violation(f"I1: the page stands at {page.cursor}, the journal at {journal.cursor}")
        before = journal.cursor.facts - len(journal.log)
        if _ids(page.shown) != _ids(journal.log[page.since - before :]):
            raise Violation("I4: what the page has shown isn't what the journal was told")
        if page.complete and (page.since, len(page.shown)) != (0, journal.cursor.facts):
            raise Violation("I9: facts are missing and no reset was said")
        shown, kept, texts = page.document, journal.document, page.written
        if journal.cursor.seq <= journal.lost:
            # The next event corrects it, as it corrects a lost counter or chunk.
            shown, kept, texts = shown._replace(completed=0), kept._replace(completed=0), journal.written
        if shown != kept:
            raise Violation(f"I4: the page shows {shown}, the journal has {kept}")
        if texts != journal.written:
            raise Violation(f"I13: the page shows the texts {texts}, the journal has {journal.written}")
        if states.is_terminal(kept.state) and page.written != written_by(self._rules.plans[kept.run - 1]):
            raise Violation(f"I13: the task has ended, and of its texts the page shows {page.written}")

    # The page and the path between it and the journal.

    def _transport(self, world: World) -> Iterator[Step]:
        page = world.page
        if not world.connected:
            actions = (reader := _thaw(page)).start()
            yield "connect", self._after(world._replace(connected=True), reader, actions), True
            return
        if world.answer is not None:
            reader = _thaw(page)
            actions = reader.answer(_reading(world.answer))
            after = world._replace(asked=None, answer=None)
            yield "reading arrives", self._after(after, reader, actions, more=world.answer.more), True
        elif world.asked is not None and world.journal is not None:
            yield "journal reads", world._replace(answer=_read(world.journal, world.asked[0], self._advance)), True
        if world.bus:
            reader = _thaw(page)
            actions = reader.offer(_event(world.bus[0]))
            yield "ring arrives", self._after(world._replace(bus=world.bus[1:]), reader, actions), True
        if world.head is not None:
            (head, asked), reader = world.head, _thaw(page)
            yield (
                "late head arrives",
                self._after(world._replace(head=None), reader, reader.head(_cursor(head), asked=_cursor(asked))),
                True,
            )
        elif self._rules.head_check and world.journal is not None and page.cursor is not None and not page.reading:
            reader = _thaw(page)
            actions = reader.head(_cursor(world.journal.cursor), asked=_cursor(page.cursor))
            if actions:
                yield "head check", self._after(world, reader, actions), True

    def _after(self, world: World, reader: Reader, actions: list[Action], *, more: bool | None = None) -> World:
        """Return the world after the reader's decision, and check the page against the guarantee."""
        page, asked = world.page, world.asked
        since, shown, resets, written = page.since, page.shown, page.resets, page.written
        for action in actions:
            match action:
                case Show(event):
                    told = _told(event)
                    if shown:
                        self._check_shown(shown, told)
                    if event.is_fact:
                        if event.facts != since + len(shown) + 1:
                            raise Violation(f"I2: fact {event.facts} was shown after {since + len(shown)}")
                        shown = (*shown, told)
                case Reset(cursor):
                    if not world.faults & (TRIM | LOSS | STALE | AGAIN):
                        raise Violation("a reset was said although the journal has lost nothing")
                    since, shown, resets = cursor.facts, (), resets + 1
                case Write(chunk, event):
                    if shown and event is not None:
                        self._check_shown(shown, _told(event))
                    written = added(written, chunk.name, chunk.text)
                    self._check_written(written)
                case Clear(run):
                    begins = page.document is None or run > page.document.run
                    if not begins and not world.faults & (TRIM | LOSS | STALE | AGAIN):
                        raise Violation("the texts were cleared although the journal has lost nothing")
                    written = ()
                case Read(cursor):
                    if asked is not None:
                        raise Violation("the reader asks for two reads at a time")
                    asked = (cursor and _place(cursor),)
        after = Page(
            reader.cursor and _place(reader.cursor),
            _summary(reader.document) if reader.document else None,
            reader.reading,
            reader.complete,
            tuple(_told(event) for event in reader._buffer),
            since,
            shown,
            resets,
            more if more is not None else page.ahead and reader.reading,
            written,
        )
        if dict(written) != reader.texts:
            raise Violation(f"I13: the page has {reader.texts}, and was told to show {dict(written)}")
        if reader.cursor and _lengths(written) != reader.cursor.texts.lengths:
            raise Violation(f"I13: the page stands at {reader.cursor.texts} and shows {dict(written)}")
        if reader.cursor and written:
            self._check_written(written, reader.cursor.texts.run)
        if after.complete is not (resets == 0):
            raise Violation("I9: the page calls itself complete although it was reset, or the other way round")
        if reader.complete and reader.shown != len(shown):
            raise Violation("I9: the page has counted other facts than it has shown")
        if page.document is not None and after.document is not None:
            back_is_said = resets > page.resets and world.faults & (LOSS | STALE | AGAIN)
            # A copy that takes over between two pages rolls back a document before all of its facts were shown.
            if not back_is_said and not (page.ahead and world.faults & STALE):
                before = page.document
                if world.faults & STALE and after.cursor and after.cursor.texts:
                    # A chunk took the number of a counter that the copy lacks: the next counter or fact corrects it.
                    before = before._replace(completed=min(before.completed, after.document.completed))
                _check_forward(before, after.document)
        return world._replace(page=after, asked=asked)

    def _check_shown(self, shown: tuple[Told, ...], told: Told) -> None:
        if told.kind != COUNTER and any(told.id == earlier.id for earlier in shown):
            raise Violation(f"I3: fact {told.id} was shown twice")
        if told.run < shown[-1].run:
            raise Violation(f"I6: run {told.run} was shown after run {shown[-1].run} had begun")
        if states.is_terminal(shown[-1].state):
            raise Violation(f"I7: an event was shown after the terminal state {shown[-1].state}")

    def _check_written(self, written: Written, run: int | None = None) -> None:
        runs = self._rules.plans if run is None else (self._rules.plans[run - 1],)
        for plan in runs:
            whole = dict(written_by(plan))
            if all(whole.get(name, "").startswith(text) for name, text in written):
                return
        raise Violation(f"I13: the page shows the texts {dict(written)}, which no run has written like that")

    # The writers.

    def _say(self, world: World, number: int) -> Iterator[Step]:
        name, writer = f"run {number + 1}", world.writers[number]
        if writer.at == 0:
            if world.journal is not None:
                yield from self._claim(world, number)
            return
        planned, chunk = self._rules.plans[number][writer.at], self._next_chunk(world, number)
        if planned.kind == TEXT:
            # The outbox merges what isn't sent yet, and sends facts and counters meanwhile.
            yield f"{name} writes", _with(world, number, writer._replace(at=writer.at + 1)), world.journal is None
        if chunk is not None:
            yield from self._send(world, number, Planned("", TEXT, "", 0), chunk)
        if planned.kind != TEXT and (chunk is None or not rules.ends_run(planned.state)):
            yield from self._send(world, number, planned, None)

    def _next_chunk(self, world: World, number: int) -> Chunk | None:
        """Return what a run has written and not sent."""
        writer = world.writers[number]
        for name, text in written_by(self._rules.plans[number][: writer.at]):
            whole, at = text.encode(), lengths(writer.texts).length(name)
            if at < len(whole):
                return Chunk(name, at, whole[at:].decode())
        return None

    def _send(self, world: World, number: int, planned: Planned, chunk: Chunk | None) -> Iterator[Step]:
        name, writer, run = f"run {number + 1}", world.writers[number], number + 1
        # A journal that has lost everything gets it back from the newest run that has more events to send.
        heals = world.journal is None
        if len(world.bus) >= self._rules.rings:
            return
        journal, is_fact = world.journal, planned.kind not in NO_FACTS
        fact, counter = writer.fact + is_fact, 0 if planned.kind != COUNTER else writer.counter + 1
        if journal is None or run > journal.run:
            yield f"{name} opens the feed anew", self._rebase(world, number), heals
            return
        # Without the fence an earlier run writes like a writer without a run: guarded by state alone.
        fenced = self._rules.fence or run == journal.run
        answer = rules.append(
            journal,
            is_fact=is_fact,
            state=planned.state or None,
            run=run if fenced else 0,
            fact=fact,
            counter=counter,
            delivery="",
            texts=self._said_with(writer, is_fact=is_fact),
            span=chunk and chunk.span,
        )
        match answer:
            case Fenced():
                yield f"{name} is fenced", _with(world, number, writer._replace(stopped=True)), False
                return
            case Duplicate():
                after = self._taken(world, number, planned, chunk, journal, fact=fact, counter=counter)
                yield f"{name} hears of a duplicate", after, False
                return
            case Conflict():
                yield f"{name} sends again", self._send_again(world, number, journal), False
                return
            case TextGap(texts):
                rewound = self._rewound(world, number, texts)
                yield f"{name} hears of a gap in a text", rewound, False
                return
            case Closed():
                yield f"{name} finds the task ended", _with(world, number, writer._replace(stopped=True)), False
                return
        assert isinstance(answer, rules.Accepted)
        written, told = self._write(journal, planned, run=run, chunk=chunk, texts=answer.texts)
        written = written._replace(fact=answer.fact, counter=answer.counter)
        rung = world._replace(journal=written, bus=_rung(world, told))
        heard = self._taken(rung, number, planned, chunk, written, fact=fact, counter=counter)
        yield f"{name} says {planned.kind}", heard, False
        if self._may(world, REPLY):
            unheard = writer if planned.kind != COUNTER else writer._replace(counter=counter)
            yield f"{name} says {planned.kind}, unheard", _with(_used(rung, REPLY), number, unheard), False

    def _said_with(self, writer: Writer, *, is_fact: bool) -> Texts:
        """Return what a run says that it has written before an event: with its facts, so that a loss is noticed."""
        return lengths(writer.texts) if is_fact and self._rules.lengths_with_facts else NO_TEXTS

    def _rewound(self, world: World, number: int, texts: Texts) -> World:
        writer = world.writers[number]
        return _with(world, number, writer._replace(texts=str(texts) if texts.lengths else ""))

    def _claim(self, world: World, number: int) -> Iterator[Step]:
        journal, writer = world.journal, world.writers[number]
        assert journal is not None
        if not rules.admits(journal.state, states.RUNNING):
            yield "claim is closed", _with(world, number, writer._replace(stopped=True)), False
            if len(world.bus) < self._rules.rings and self._may(world, AGAIN):
                yield "the id is used again", self._begin_again(_used(world, AGAIN), number), False
        elif len(world.bus) < self._rules.rings:
            texts = texts_once_begun(journal.texts, number + 1)
            written, told = self._write(journal, self._rules.plans[number][0], run=number + 1, texts=texts)
            written = written._replace(run=number + 1, fact=1, counter=0)
            begun = Writer(1, 1, 0, written.cursor.bare, written.document, False)
            yield "run 2 begins", _with(world._replace(journal=written, bus=_rung(world, told)), number, begun), False

    def _begin_again(self, world: World, number: int) -> World:
        """Return the world in which another publication has begun an ended feed again, in a new epoch."""
        cursor = Place(_epoch(world.epochs + 1), 0, 0, ZERO_CHAIN)
        empty = Kept(cursor, Summary("queued", 0, 0), (), 1, number + 1, 1, 0, 0)
        written, told = self._write(empty, self._rules.plans[number][0], run=number + 1)
        begun = Writer(1, 1, 0, written.cursor, written.document, False)
        again = world._replace(journal=written, copy=None, bus=_rung(world, told), epochs=world.epochs + 1)
        return _with(again, number, begun)

    def _taken(
        self,
        world: World,
        number: int,
        planned: Planned,
        chunk: Chunk | None,
        journal: Kept,
        *,
        fact: int,
        counter: int,
    ) -> World:
        writer, last = world.writers[number], journal.cursor.bare
        if chunk is not None:
            texts = lengths(writer.texts).of_run(number + 1).grown(chunk.name, chunk.end)
            return _with(world, number, writer._replace(last=last, texts=str(texts)))
        document = Summary(planned.state or writer.document.state, number + 1, planned.completed)
        return _with(world, number, Writer(writer.at + 1, fact, counter, last, document, False, writer.texts))

    def _send_again(self, world: World, number: int, journal: Kept) -> World:
        writer, run = world.writers[number], number + 1
        facts = [planned for planned in self._rules.plans[number] if planned.kind not in NO_FACTS]
        missing = facts[journal.fact : writer.fact]
        if len(missing) > FACTS_SENT_AGAIN:
            return self._rebase(world, number)
        bus = world.bus
        for planned in missing:
            if not rules.admits(journal.state, planned.state or None):
                break
            if self._rules.lengths_with_facts:
                # The reply to the fact is how much of the texts there is, and they go before it.
                world = self._rewound(world, number, journal.texts.of_run(run))
                while (chunk := self._next_chunk(world, number)) is not None:
                    texts = journal.texts.of_run(run).grown(chunk.name, chunk.end)
                    journal, told = self._write(journal, Planned("", TEXT, "", 0), run=run, chunk=chunk, texts=texts)
                    bus = (*bus, told)
                    world = self._taken(world, number, planned, chunk, journal, fact=0, counter=0)
            journal, told = self._write(journal, planned, run=run)
            journal = journal._replace(fact=journal.fact + 1, counter=0)
            bus = (*bus, told)
        return world._replace(journal=journal, bus=bus if world.connected else ())

    def _rebase(self, world: World, number: int) -> World:
        writer, journal = world.writers[number], world.journal
        assert writer.last is not None
        answer = rules.rebase(journal, number + 1, delivery="", state=writer.document.state)
        if not isinstance(answer, rules.Rebased):
            return _with(world, number, writer._replace(stopped=True))
        last = writer.last
        cursor = Place(_epoch(world.epochs + 1), last.seq, last.facts, last.chain)
        opened = Kept(cursor, writer.document, (), last.facts + 1, number + 1, writer.fact, 0, 0)
        known = _with(world, number, writer._replace(last=cursor, counter=0, texts=""))
        return known._replace(journal=opened, epochs=world.epochs + 1)

    def _write(
        self, journal: Kept, planned: Planned, *, run: int, chunk: Chunk | None = None, texts: Texts | None = None
    ) -> tuple[Kept, Told]:
        """Number and keep an event. `texts`: the lengths with it, if it changes them."""
        is_fact = planned.kind not in NO_FACTS
        at, written = journal.cursor, journal.written
        if texts is not None and texts.run != journal.texts.run:
            written = ()
        if chunk is not None:
            written = added(written, chunk.name, chunk.text)
        chain = self._advance(at.chain, planned.id) if is_fact else at.chain
        cursor = Place(at.epoch, at.seq + 1, at.facts + is_fact, chain, at.texts if texts is None else str(texts))
        completed = journal.document.completed if chunk is not None else planned.completed
        silent = is_fact and not self._rules.progress_in_every_ring and planned.state != "running"
        says_lengths = self._rules.lengths_in_every_event or chunk is not None
        told = Told(
            cursor if says_lengths else cursor.bare,
            run,
            planned.id,
            planned.kind,
            planned.state,
            None if silent else completed,
            chunk,
        )
        document = Summary(planned.state or journal.document.state, run, completed)
        log = (*journal.log, told) if is_fact else journal.log
        return journal._replace(cursor=cursor, document=document, log=log, written=written), told

    # The faults.

    def _may(self, world: World, fault: int) -> bool:
        return bool(
            self._rules.faults & fault and not world.faults & fault and world.faults.bit_count() < self._rules.budget
        )

    def _faults(self, world: World) -> Iterator[Step]:
        bus, journal, page = world.bus, world.journal, world.page
        if bus and self._may(world, DROP):
            yield "a ring is lost", _used(world, DROP)._replace(bus=bus[1:]), False
        if bus and len(bus) < self._rules.rings and self._may(world, DOUBLE):
            yield "a ring is doubled", _used(world, DOUBLE)._replace(bus=(*bus, bus[0])), False
        if len(bus) > 1 and self._may(world, SWAP):
            yield "two rings are swapped", _used(world, SWAP)._replace(bus=(bus[1], bus[0], *bus[2:])), False
        if world.connected and self._may(world, CUT):
            # Messages in transit are void; rings meanwhile are lost.
            cut = _used(world, CUT)._replace(connected=False, bus=(), asked=None, answer=None, head=None)
            yield "the connection is cut", cut, False
        if journal is None:
            return
        if len(journal.log) > 1 and journal.first < journal.cursor.facts and self._may(world, TRIM):
            trimmed = journal._replace(first=journal.cursor.facts)
            yield "all but the newest fact is trimmed", _used(world, TRIM)._replace(journal=trimmed), False
        newest = world.writers[journal.run - 1]
        if not newest.stopped and newest.at < len(self._rules.plans[journal.run - 1]) and self._may(world, LOSS):
            yield "the journal loses its data", _used(world, LOSS)._replace(journal=None, copy=None), False
        if self._may(world, STALE):
            yield "a replica copies", _used(world, STALE)._replace(copy=journal), False
        elif (copy := world.copy) and copy.cursor.epoch == journal.cursor.epoch and copy.cursor != journal.cursor:
            fallen = world._replace(journal=copy._replace(lost=journal.cursor.seq), copy=None)
            yield "a stale copy takes over", fallen, False
        if self._rules.head_check and world.connected and page.cursor is not None and self._may(world, SLOW):
            head = (journal.cursor.bare, page.cursor.bare)
            yield "a head is slow", _used(world, SLOW)._replace(head=head), False


def _epoch(number: int) -> str:
    return f"{number:08x}"


def _used(world: World, fault: int) -> World:
    return world._replace(faults=world.faults | fault)


def _with(world: World, number: int, writer: Writer) -> World:
    first, second = world.writers
    return world._replace(writers=(writer, second) if number == 0 else (first, writer))


def _ids(events: tuple[Told, ...]) -> list[str]:
    return [told.id for told in events]


def _rung(world: World, told: Told) -> tuple[Told, ...]:
    return (*world.bus, told) if world.connected else ()


def _read(journal: Kept, asked: Place | None, advance: Callable[[str, str], str]) -> Answer:
    held = asked or Place(journal.cursor.epoch, 0, 0, ZERO_CHAIN)
    after = tuple(told for told in journal.log if told.at.facts > held.facts and told.at.facts >= journal.first)
    events = after[:READ_LIMIT]
    fits = not events or events[0].at.chain == advance(held.chain, events[0].id)
    recovered = rules.is_recovered(_cursor(journal.cursor), _cursor(held), first=journal.first, fits=fits)
    events, more = (events, len(after) > READ_LIMIT) if recovered else ((), False)
    has, written = lengths(held.texts) if recovered else NO_TEXTS, dict(journal.written)
    spans = spans_after(journal.texts, has)
    found = [(span, written[span.name].encode()[span.at : span.end]) for span in spans]
    chunks, brought = chunks_of(journal.texts, has, found)
    place = (events[-1].at if more else journal.cursor)._replace(texts=str(brought))
    return Answer(journal.document, events, place, recovered, more or brought != journal.texts, chunks)


def _lengths(written: Written) -> tuple[tuple[str, int], ...]:
    return tuple((name, size_of(text)) for name, text in written)


def _check_forward(before: Summary, after: Summary) -> None:
    if after.run < before.run:
        raise Violation(f"I5: the page went back from run {before.run} to run {after.run}")
    if after.run == before.run and after.completed < before.completed:
        raise Violation(f"I5: progress went back from {before.completed} to {after.completed}")
    if states.is_terminal(before.state) and after != before:
        raise Violation(f"I7: after {before} the page showed {after}")


@cache
def _cursor(place: Place) -> Cursor:
    return Cursor(*place[:4], lengths(place.texts))


def _place(cursor: Cursor) -> Place:
    return Place(cursor.epoch, cursor.seq, cursor.facts, cursor.chain, str(cursor.texts) if cursor.texts.run else "")


@cache
def _event(told: Told) -> Event:
    at = told.at
    return Event(
        id=told.id,
        feed=FEED,
        epoch=at.epoch,
        seq=at.seq,
        run=told.run,
        facts=at.facts,
        chain=at.chain,
        at=0,
        kind=told.kind,
        patch={"state": told.state} if told.state else {},
        progress=None if told.completed is None else {"completed": told.completed},
        data=told.chunk and told.chunk.to_wire(),
        texts=lengths(at.texts),
        v=VERSION if told.chunk is None else TEXT_VERSION,
    )


def _told(event: Event) -> Told:
    completed = None if event.progress is None else event.progress["completed"]
    return Told(
        _place(event.cursor),
        event.run,
        event.id,
        event.kind,
        event.patch.get("state", ""),
        completed,
        event.chunk,
    )


def _reading(answer: Answer) -> Reading:
    events = tuple(_event(told) for told in answer.events)
    return Reading(
        FEED,
        answer.document.as_document(),
        events,
        _cursor(answer.cursor),
        answer.recovered,
        answer.more,
        chunks=answer.chunks,
    )


def _summary(document: Document) -> Summary:
    return Summary(document["state"], document["run"], document["progress"]["completed"])


def _thaw(page: Page) -> Reader:
    reader = Reader(
        FEED, cursor=page.cursor and _cursor(page.cursor), document=page.document and page.document.as_document()
    )
    reader.cursor = page.cursor and _cursor(page.cursor)
    reader.reading, reader.complete = page.reading, page.complete
    reader._written = {name: [text] for name, text in page.written}
    reader.shown = page.since + len(page.shown)
    reader._buffer = [_event(told) for told in page.buffer]
    return reader
