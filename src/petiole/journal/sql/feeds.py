"""Feeds in a database: open, append, read, heads, lists, removal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from petiole.errors import InvalidEvent, Refusal
from petiole.journal import rules
from petiole.journal.answers import (
    Appended,
    Gone,
    Head,
    Missing,
    Snapshot,
)
from petiole.journal.rules import read_unknown
from petiole.journal.sql import schema
from petiole.journal.sql.row import COLUMNS, Feed, as_kept, check_numbers
from petiole.journal.sql.schema import feeds, now_ms, read_text
from petiole.journal.sql.server import Mode
from petiole.journal.sql.step import Step
from petiole.journal.sql.store import SqlStore, ms
from petiole.journal.sql.texts import read_bytes
from petiole.journal.texts import chunks_of, spans_after
from petiole.logs import logger
from petiole.protocol.events import ZERO_CHAIN, Cursor, Draft, Event, mint_epoch
from petiole.protocol.reader import Reading
from petiole.protocol.texts import NO_TEXTS, Span, Texts

log = logger(__name__)


class SqlFeeds(SqlStore):
    """`Feeds` in a database."""

    def open(
        self,
        feed: str,
        *,
        owner: str,
        draft: Draft,
        lease: float | None = None,
        epoch: str | None = None,
        message: str = "",
        publication: str = "",
        replayed: bool = False,
    ) -> Cursor:
        def step(step: Step) -> Cursor:
            minted = epoch or mint_epoch()
            kept, made = step.load_or_make(feed, owner=owner, epoch=minted)
            if not made and rules.begins_again(kept, publication, replayed=replayed):
                before, kept, made = kept, step.empty(kept, owner=owner, epoch=minted), True
                # Run numbers go on, so that an earlier run that is still alive is fenced.
                kept.run, kept.publication, kept.spent = before.run, before.publication, before.spent
            if made:
                kept.succeed(publication)
                kept.lease_ends = None if lease is None else step.now + ms(lease)
                if message:
                    step.save(kept, message=message)
                step.write(kept, draft, run=0)
            return kept.cursor

        return self._write(step)

    def append(
        self,
        feed: str,
        draft: Draft,
        *,
        run: int = 0,
        fact: int = 0,
        counter: int = 0,
        delivery: str = "",
        texts: Texts = NO_TEXTS,
    ) -> Appended:
        draft.encode()
        chunk = draft.chunk

        def step(step: Step) -> Appended:
            kept = step.load(feed)
            if kept is None:
                return Missing()
            answer = rules.append(
                kept,
                is_fact=draft.is_fact,
                state=draft.state,
                run=run,
                fact=fact,
                counter=counter,
                delivery=delivery,
                texts=texts,
                span=chunk.span if chunk else None,
            )
            if not isinstance(answer, rules.Accepted):
                return answer
            kept.fact, kept.counter = answer.fact, answer.counter
            step.begin_texts(kept, answer.texts)
            if chunk is not None:
                step.keep_chunk(kept, chunk)
            if answer.ends_run:
                kept.end_run()
            if draft.successor:
                kept.succeed(draft.successor)
            if rules.prolongs(kept, run, left=kept.left(step.now), lease=self._settings.lease):
                kept.lease_ends = step.now + ms(self._settings.lease)
            return replace(step.write(kept, draft, run=run), stalled=answer.was_stalled)

        return self._write(step)

    def read(self, feed: str, cursor: Cursor | None, *, limit: int, texts: bool = True) -> Reading | None:
        def instant(connection: Connection) -> Reading | None:
            row = connection.execute(select(*COLUMNS).where(self._kept(feed))).one_or_none()
            return None if row is None or row.removed else _read(connection, Feed.of(row), cursor, limit, texts=texts)

        return self._server.run(instant, mode=Mode.INSTANT) or read_unknown(feed, cursor)

    def text(self, feed: str, name: str) -> str | None:
        def instant(connection: Connection) -> str | None:
            row = connection.execute(select(*COLUMNS).where(self._kept(feed))).one_or_none()
            length = 0 if row is None else Feed.of(row).texts.length(name)
            if row is None or not length:
                return None
            found = read_bytes(connection, row.id, Span(name, 0, length))
            if len(found) < length:
                raise Refusal(f"The text {name} of {feed} can't be read. Look for what else writes there.")
            return found.decode(errors="replace")

        return self._server.run(instant, mode=Mode.INSTANT)

    def heads(self, names: Sequence[str]) -> dict[str, Head]:
        if not names:
            return {}
        places = (feeds.c.name, feeds.c.epoch, feeds.c.seq, feeds.c.facts, feeds.c.chain, feeds.c.state)
        found = select(
            *places, as_kept(feeds.c.owner), feeds.c.run, feeds.c.waits, feeds.c.lease_ends, now_ms().label("now")
        )
        rows = self._server.run(
            lambda connection: connection.execute(found.where(self._kept(*names))).all(), mode=Mode.QUERY
        )
        heads: dict[str, Head] = {}
        for row in rows:
            # A spoiled row hides its own feed only.
            with suppress(Refusal):
                check_numbers(row.name, row.seq, row.facts, row.run, row.lease_ends or 0)
                left = None if row.lease_ends is None else (row.lease_ends - row.now) / 1000
                cursor = Cursor(row.epoch, row.seq, row.facts, row.chain)
                heads[row.name] = Head(cursor, row.state, read_text(row.owner), row.run, left, row.waits)
        return heads

    def changed_heads(self, known: Mapping[str, Cursor | None]) -> dict[str, Cursor | Gone]:
        heads = self.heads(list(known))
        found: dict[str, Cursor | Gone] = {}
        for name in known:
            head = heads.get(name)
            found[name] = (
                rules.head_of(name, None) if head is None else rules.head_of(name, head.cursor, removed=not head.owner)
            )
        return {name: head for name, head in found.items() if head != known[name]}

    def snapshot(self, feed: str) -> Snapshot | None:
        kept = self._find(feed)
        return None if kept is None or kept.removed else _snapshot(kept)

    def forget(self, feed: str) -> None:
        self._write(lambda step: step.forget(feed))

    def remove(self, feed: str) -> None:
        def step(step: Step) -> None:
            kept = step.load(feed)
            if kept is not None:
                step.strip(kept)

        self._write(step)

    def list(self, owner: str, *, limit: int, before: int | None = None) -> tuple[list[Snapshot], int | None]:
        own = select(*COLUMNS).where(
            feeds.c.prefix == self._settings.key_prefix,
            feeds.c.owner == owner,
            ~feeds.c.name.startswith("user:"),
            feeds.c.goes_at > now_ms(),
        )
        if before is not None:
            own = own.where(feeds.c.id < before)
        page = own.order_by(feeds.c.id.desc()).limit(limit)
        rows = self._server.run(lambda connection: connection.execute(page).all(), mode=Mode.QUERY)
        return list(_readable(rows)), rows[-1].id if rows and len(rows) == limit else None


def _read(connection: Connection, kept: Feed, cursor: Cursor | None, limit: int, *, texts: bool) -> Reading:
    """Read a feed that is there; `connection` sees one instant."""
    found = _facts_after(connection, kept, cursor.facts if cursor else kept.first - 1, limit)
    start = None
    if cursor is None and kept.first > 1:
        start = Cursor(kept.epoch, 0, kept.first - 1, found[0][0] if found else kept.chain)
    held = cursor or start or Cursor(kept.epoch, 0, 0, ZERO_CHAIN)
    fits = not found or found[0][0] == held.chain
    recovered = rules.is_recovered(kept.cursor, held, first=kept.first, fits=fits)
    events: tuple[Event, ...] = ()
    try:
        events = tuple(Event.from_text(event) for _, event in found) if recovered else ()
    except InvalidEvent as error:
        # All of them are left out: a reader that can't have every fact is told so, and gets the document.
        log.error("fact_unreadable", extra={"feed": kept.name, "error": str(error)})
        recovered, start = False, None
    has = (held.texts if recovered else NO_TEXTS) if texts else kept.texts
    spans = spans_after(kept.texts, has)
    chunks, brought = chunks_of(kept.texts, has, [(span, read_bytes(connection, kept.id, span)) for span in spans])
    facts_remain = bool(events) and events[-1].facts < kept.facts
    place = events[-1].cursor if facts_remain else kept.cursor
    return Reading(
        kept.name,
        kept.fields,
        events,
        place.at_texts(brought),
        recovered and start is None,
        facts_remain or brought != kept.texts,
        start,
        chunks,
    )


def _facts_after(connection: Connection, kept: Feed, after: int, limit: int) -> Sequence[tuple[str, str]]:
    """Return the facts after this number, each with the chain before it; none if the next one isn't kept."""
    if after >= kept.facts or after + 1 < kept.first:
        return ()
    facts = schema.facts.c
    later = select(facts.before, facts.event).where(facts.feed == kept.id, facts.number > after)
    found = connection.execute(later.order_by(facts.number).limit(limit)).all()
    return [(before, event) for before, event in found]


def _readable(rows: Sequence[Any]) -> Iterator[Snapshot]:
    """Yield the snapshots of those feeds that can be read."""
    for row in rows:
        try:
            yield _snapshot(Feed.of(row))
        except Refusal as error:
            log.error("feed_unreadable", extra={"feed": row.name, "error": str(error)})


def _snapshot(kept: Feed) -> Snapshot:
    return Snapshot(kept.name, kept.owner, kept.cursor.at_texts(kept.texts), kept.fields)
