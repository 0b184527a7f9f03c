"""The verbs of the SQL journal: each one transaction under the feed's row lock, so that numbers are in commit order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Connection, delete, func, select, text, tuple_, update

from petiole.bus.contract import Ring
from petiole.errors import InvalidEvent, PetioleError, Refusal
from petiole.journal import rules
from petiole.journal.answers import (
    Appended,
    Busy,
    Claimed,
    Closed,
    Duplicate,
    Expired,
    Fenced,
    Gone,
    Head,
    Held,
    Missing,
    Snapshot,
    Stored,
)
from petiole.journal.rules import INBOX_START, encode_notice, read_unknown
from petiole.journal.sql import schema
from petiole.journal.sql.schema import feeds, now_ms, read_text
from petiole.journal.sql.server import Mode, Server
from petiole.journal.sql.step import COLUMNS, Feed, Step, as_kept, check_numbers
from petiole.logs import logger
from petiole.protocol import states
from petiole.protocol.encoding import to_json
from petiole.protocol.events import ZERO_CHAIN, Cursor, Document, Draft, Event, check_feed, inbox_feed, mint_epoch
from petiole.protocol.reader import Reading
from petiole.settings import Settings

T = TypeVar("T")

log = logger(__name__)

OLDEST_POSTGRESQL: Final = 12
SWEPT_AT_ONCE: Final = 100
# Nothing past its lifetime was found: how many seconds until somebody looks again.
SWEEP_PAUSE: Final = 30.0


class SqlJournal:
    """`Journal` in PostgreSQL or SQLite. After the commit it calls `ring`, which must return at once and never raise."""

    def __init__(self, settings: Settings, *, ring: Ring | None = None) -> None:
        self._settings = settings
        self._ring = ring or (lambda _feed, _text: None)
        self._server = Server(settings)
        self._sweep_at = 0.0

    def look_at_tables(self) -> None:
        """Do nothing but find out whether the tables are there.

        Raises:
            SetupError: there are none, or they are of another version.
            Unavailable: the server doesn't answer.
        """
        self._server.check()

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
                # The numbers of runs go on, so that what is left of an earlier one is fenced.
                kept.run, kept.publication, kept.spent = before.run, before.publication, before.spent
            if made:
                kept.succeed(publication)
                kept.lease_ends = None if lease is None else step.now + _ms(lease)
                if message:
                    step.save(kept, message=message)
                step.write(kept, draft, run=0)
            return kept.cursor

        return self._write(step)

    def confirm(self, feed: str, *, run: int = 0, wait: bool = True, lease: float | None = None) -> None:  # noqa: ARG002
        if lease is None:
            named = update(feeds).where(self._named(feed), feeds.c.run == run).values(lease_ends=None)
        else:
            is_left = (feeds.c.state == states.RETRYING) & (feeds.c.run == run)
            waiting = update(feeds).where(self._named(feed), (feeds.c.state == states.QUEUED) | is_left)
            named = waiting.values(waits=True, lease_ends=now_ms() + _ms(lease))
        self._server.run(lambda connection: connection.execute(named), mode=Mode.WRITE)

    def append(
        self, feed: str, draft: Draft, *, run: int = 0, fact: int = 0, counter: int = 0, delivery: str = ""
    ) -> Appended:
        draft.encode()

        def step(step: Step) -> Appended:
            kept = step.load(feed)
            if kept is None:
                return Missing()
            answer = rules.append(
                kept, is_fact=draft.is_fact, state=draft.state, run=run, fact=fact, counter=counter, delivery=delivery
            )
            if not isinstance(answer, rules.Accepted):
                return answer
            kept.fact, kept.counter = answer.fact, answer.counter
            if answer.ends_run:
                kept.end_run()
            if draft.successor:
                kept.succeed(draft.successor)
            if rules.prolongs(kept, run, left=kept.left(step.now), lease=self._settings.lease):
                kept.lease_ends = step.now + _ms(self._settings.lease)
            return replace(step.write(kept, draft, run=run), stalled=answer.was_stalled)

        return self._write(step)

    def read(self, feed: str, cursor: Cursor | None, *, limit: int) -> Reading | None:
        def instant(connection: Connection) -> tuple[Feed, Sequence[tuple[str, str]]] | None:
            row = connection.execute(select(*COLUMNS).where(self._kept(feed))).one_or_none()
            if row is None or row.removed:
                return None
            kept = Feed.of(row)
            after = cursor.facts if cursor else kept.first - 1
            if after >= kept.facts or after + 1 < kept.first:
                return kept, ()
            facts = schema.facts.c
            later = select(facts.before, facts.event).where(facts.feed == kept.id, facts.number > after)
            found = connection.execute(later.order_by(facts.number).limit(limit)).all()
            return kept, [(before, event) for before, event in found]

        answer = self._server.run(instant, mode=Mode.INSTANT)
        if answer is None:
            return read_unknown(feed, cursor)
        kept, found = answer
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
            # Set aside as a whole: a reader that can't be told every fact is told so, and gets the document.
            log.error("fact_unreadable", extra={"feed": feed, "error": str(error)})
            recovered, start = False, None
        more = bool(events) and events[-1].facts < kept.facts
        place = events[-1].cursor if more else kept.cursor
        return Reading(feed, kept.fields, events, place, recovered and start is None, more, start)

    def claim(
        self,
        feed: str,
        draft: Draft,
        *,
        worker: str,
        delivery: str,
        retries: int,
        lease: float,
        failed: Draft | None = None,
        message: str = "",
        publication: str = "",
        replayed: bool = False,
    ) -> Claimed | Busy | Closed | Missing:
        draft.encode()

        def step(step: Step) -> Claimed | Busy | Closed | Missing:
            kept = step.load(feed)
            if kept is None:
                return Missing()
            answer = rules.claim(
                kept,
                delivery=delivery,
                retries=retries,
                left=kept.left(step.now),
                publication=publication,
                replayed=replayed,
                may_fail=failed is not None,
            )
            match answer:
                case rules.Begun():
                    kept.run, kept.fact, kept.silent, kept.publication, kept.spent = answer
                    kept.counter, kept.live = 0, True
                    kept.worker, kept.delivery, kept.retries = worker, delivery, retries
                    kept.lease_ends = step.now + _ms(lease)
                    step.save(kept, **({"message": message} if message else {}))
                    if kept.fact:
                        step.write(kept, draft, run=kept.run)
                case rules.Again():
                    pass
                case rules.GivenUp(silent):
                    assert failed is not None
                    kept.silent = silent
                    kept.end_run()
                    step.write(kept, failed, run=0)
                    return Closed(kept.state or "")
                case _:
                    return answer
            return Claimed(kept.run, kept.fact, kept.cursor, kept.fields, kept.cancel > 0)

        return self._write(step)

    def renew(self, worker: str, names: Sequence[str], *, lease: float) -> dict[str, Held]:
        if not names:
            return {}
        lifetime = now_ms() + _ms(self._settings.live_kept_for)
        standing = (feeds.c.name, feeds.c.cancel, feeds.c.state)

        def step(connection: Connection) -> dict[str, Held]:
            held = dict.fromkeys(names, Held(valid=False, cancel=False))
            own = self._kept(*names), feeds.c.worker == worker, feeds.c.live
            renewed = update(feeds).where(*own).values(lease_ends=now_ms() + _ms(lease), goes_at=lifetime)
            for name, cancel, state in connection.execute(renewed.returning(*standing)):
                held[name] = Held(True, cancel > 0, state == states.STALLED, cancel > 1)
            others = [name for name, standing in held.items() if not standing.valid]
            if others:
                for name, cancel, state in connection.execute(select(*standing).where(self._kept(*others))):
                    held[name] = Held(False, cancel > 0, state == states.STALLED, cancel > 1)
            return held

        return self._server.run(step, mode=Mode.WRITE)

    def check(self, feed: str, run: int, *, delivery: str = "", lease: float | None = None) -> Held:
        kept = self._find(feed)
        valid = kept is not None and rules.is_valid(kept, run, delivery=delivery)
        if kept is not None and valid and lease is not None:
            same = self._named(feed), feeds.c.live, feeds.c.run == run, feeds.c.delivery == kept.delivery
            renewed = update(feeds).where(*same).values(lease_ends=now_ms() + _ms(lease))
            self._server.run(lambda connection: connection.execute(renewed), mode=Mode.WRITE)
        return rules.held(kept, valid=valid)

    def message(self, feed: str) -> str:
        found = select(feeds.c.message).where(self._kept(feed))
        return self._server.run(lambda connection: connection.scalar(found), mode=Mode.QUERY) or ""

    def expired(self, *, limit: int) -> list[Expired]:
        self._sweep()
        own = feeds.c.prefix == self._settings.key_prefix
        ended = select(feeds.c.name, feeds.c.run, feeds.c.waits).where(own, feeds.c.lease_ends <= _now())
        found = ended.order_by(feeds.c.lease_ends).limit(limit)
        # The clock was set back since these were given: nobody would be spoken for until it is as late again.
        too_late = own & (feeds.c.lease_ends > _now() + _ms(self._settings.longest_lease))

        def ask(connection: Connection) -> tuple[list[Expired], bool]:
            leases = [Expired(*row) for row in connection.execute(found)]
            return leases, connection.scalar(select(feeds.c.id).where(too_late).limit(1)) is not None

        leases, set_back = self._server.run(ask, mode=Mode.QUERY)
        if set_back:
            cut = update(feeds).where(too_late).values(lease_ends=now_ms() + _ms(self._settings.lease))
            self._server.run(lambda connection: connection.execute(cut), mode=Mode.WRITE)
        return leases

    def conclude(self, feed: str, run: int, draft: Draft, *, lease: float | None = None) -> Appended:
        def step(step: Step) -> Appended:
            kept = step.load(feed)
            if kept is None:
                return Missing()
            refusal = rules.conclude(kept, run, state=draft.state, left=kept.left(step.now))
            if refusal is not None:
                return refusal
            if rules.ends_run(draft.state):
                kept.end_run()
            kept.lease_ends = None if lease is None else step.now + _ms(lease)
            return step.write(kept, draft, run=0)

        return self._write(step)

    def rebase(
        self,
        feed: str,
        *,
        owner: str,
        run: int,
        delivery: str,
        retries: int,
        last: Cursor,
        fact: int,
        document: Document,
        worker: str,
        lease: float,
        message: str = "",
        publication: str = "",
    ) -> Cursor | Fenced | Closed:
        def step(step: Step) -> Cursor | Fenced | Closed:
            kept, made = step.load_or_make(feed, owner=owner, epoch=mint_epoch())
            state = document.get("state")
            answer = rules.rebase(None if made else kept, run, delivery=delivery, state=state)
            if not isinstance(answer, rules.Rebased):
                return answer
            if not made:
                before, kept = kept, step.empty(kept, owner=owner, epoch=mint_epoch(), message=None)
                kept.spent, kept.silent, kept.waits = before.spent, before.silent, before.waits
            kept.publication = publication
            kept.seq, kept.facts, kept.chain, kept.first = last.seq, last.facts, last.chain, last.facts + 1
            kept.document, kept.state = to_json(document), state
            kept.run, kept.delivery, kept.retries, kept.fact, kept.worker = run, delivery, retries, fact, worker
            kept.live, kept.cancel = answer
            kept.lease_ends = step.now + _ms(lease) if kept.live else None
            if not kept.live:
                step.pend(kept)
            step.save(kept, **({"message": message} if message else {}))
            return kept.cursor

        return self._write(step)

    def cancel(self, feed: str, *, cancelling: Draft, cancelled: Draft, force: bool = False) -> Appended:
        def step(step: Step) -> Appended:
            kept = step.load(feed)
            if kept is None:
                return Missing()
            answer = rules.cancel(kept, force=force, has_lease=kept.lease_ends is not None)
            if not isinstance(answer, rules.Cancelled):
                return answer
            kept.cancel = answer.cancel
            if answer.at_once:
                kept.end_run()
            return step.write(kept, cancelled if answer.at_once else cancelling, run=0)

        return self._write(step)

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
            # What is spoiled hides its own feed only.
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

    def pending(self, *, limit: int) -> Sequence[str]:
        waiting = select(feeds.c.name).where(
            feeds.c.prefix == self._settings.key_prefix, feeds.c.pending_since.is_not(None), feeds.c.goes_at > _now()
        )
        found = waiting.order_by(feeds.c.pending_since, feeds.c.id).limit(limit)
        return self._server.run(lambda connection: connection.scalars(found).all(), mode=Mode.QUERY)

    def settle(self, feed: str) -> None:
        named = update(feeds).where(self._named(feed)).values(pending_since=None)
        self._server.run(lambda connection: connection.execute(named), mode=Mode.WRITE)

    def notify(self, owner: str, *, key: str, notice: Document) -> Stored | Duplicate:
        check_feed(key)
        encode_notice(notice)

        def step(step: Step) -> Stored | Duplicate:
            kept, _ = step.load_or_make(inbox_feed(owner), owner=owner, epoch=INBOX_START.epoch)
            if step.has(schema.seen, kept, key):
                return self._again(step, kept)
            step.remember(schema.seen, kept, [key])
            step.remember(schema.unread, kept, [key])
            patch = rules.notify(kept.fields, key, notice, unread=step.count(schema.unread, kept))
            return step.write(kept, Draft("notice", patch, data=notice), run=0)

        return self._write(step)

    def acknowledge(self, owner: str, keys: Sequence[str] | None) -> Stored | Duplicate:
        chosen = list(dict.fromkeys(check_feed(key) for key in keys or ()))

        def step(step: Step) -> Stored | Duplicate:
            kept, _ = step.load_or_make(inbox_feed(owner), owner=owner, epoch=INBOX_START.epoch)
            taken = step.take(schema.unread, kept, None if keys is None else chosen)
            step.remember(schema.seen, kept, chosen)
            if not taken:
                return self._again(step, kept)
            patch = rules.acknowledge(kept.fields, taken, unread=step.count(schema.unread, kept))
            return step.write(kept, Draft("acknowledged", patch), run=0)

        return self._write(step)

    def note(self, name: str, text: str, *, instead_of: str, lasts: float) -> str:
        prefix = self._settings.key_prefix

        def step(step: Step) -> str:
            before = step.note(prefix, name)
            while before is None and instead_of == "" and text:
                step.add_note(prefix, name)
                before = step.note(prefix, name)
            if before is not None and before == instead_of:
                step.set_note(prefix, name, text, lasts=lasts)
            return before or ""

        return self._write(step)

    def notes(self, names: Sequence[str]) -> dict[str, str]:
        if not names:
            return {}
        notes = schema.notes.c
        found = select(notes.name, notes.text).where(
            notes.prefix == self._settings.key_prefix, notes.name.in_(names), notes.goes_at > now_ms()
        )
        rows = self._server.run(lambda connection: connection.execute(found).all(), mode=Mode.QUERY)
        return {name: text for name, text in rows if text}

    def ping(self) -> None:
        self._server.run(lambda connection: connection.scalar(select(1)), mode=Mode.QUERY)

    def inspect(self) -> Sequence[str]:
        try:
            if self._server.is_sqlite:
                self.ping()
                return ()
            return self._server.run(self._weaknesses, mode=Mode.QUERY)
        except PetioleError as error:
            return (str(error),)

    def close(self) -> None:
        self._server.close()

    def _write(self, action: Callable[[Step], T]) -> T:
        """Run one step, and ring once it is committed."""

        def transaction(connection: Connection) -> tuple[T, list[tuple[str, str]]]:
            step = Step(connection, self._settings)
            return action(step), step.rings

        answer, rings = self._server.run(transaction, mode=Mode.WRITE)
        for feed, event in rings:
            self._ring(feed, event)
        return answer

    def _find(self, feed: str) -> Feed | None:
        found = select(*COLUMNS).where(self._kept(feed))
        row = self._server.run(lambda connection: connection.execute(found).one_or_none(), mode=Mode.QUERY)
        return None if row is None else Feed.of(row)

    def _named(self, *names: str) -> ColumnElement[bool]:
        chosen = feeds.c.name == names[0] if len(names) == 1 else feeds.c.name.in_(names)
        return (feeds.c.prefix == self._settings.key_prefix) & chosen

    def _kept(self, *names: str) -> ColumnElement[bool]:
        return self._named(*names) & (feeds.c.goes_at > now_ms())

    def _again(self, step: Step, inbox: Feed) -> Duplicate:
        step.prolong(inbox, self._settings.live_kept_for)
        step.save(inbox)
        return Duplicate(inbox.cursor)

    def _sweep(self) -> None:
        """Delete some of what is past its lifetime; whoever asks for leases that have ended does it on the way."""
        if time.monotonic() < self._sweep_at:
            return

        def sweep(connection: Connection) -> int:
            gone = select(feeds.c.id).where(feeds.c.goes_at <= _now()).limit(SWEPT_AT_ONCE)
            found = connection.scalars(gone.with_for_update(skip_locked=True)).all()
            if found:
                Step(connection, self._settings).delete(found)
            names = schema.notes.c.prefix, schema.notes.c.name
            old = select(*names).where(schema.notes.c.goes_at <= _now()).limit(SWEPT_AT_ONCE)
            noted = connection.execute(old.with_for_update(skip_locked=True)).all()
            if noted:
                connection.execute(delete(schema.notes).where(tuple_(*names).in_([tuple(row) for row in noted])))
            return max(len(found), len(noted))

        swept = self._server.run(sweep, mode=Mode.WRITE)
        self._sweep_at = time.monotonic() + (0.0 if swept == SWEPT_AT_ONCE else SWEEP_PAUSE)

    def _weaknesses(self, connection: Connection) -> Sequence[str]:
        where, found = self._server.where, []
        asked = "server_version_num", "server_version", "fsync", "full_page_writes", "synchronous_commit"
        told = {name: str(connection.scalar(select(func.current_setting(name)))) for name in asked}
        if int(told["server_version_num"]) < OLDEST_POSTGRESQL * 10_000:
            found.append(
                f"{where} is {told['server_version']}; Petiole needs {OLDEST_POSTGRESQL} or newer. Upgrade it."
            )
        found += [
            f"{where} may lose its data when its machine dies. Set {name} to on."
            for name in ("fsync", "full_page_writes")
            if told[name] == "off"
        ]
        if told["synchronous_commit"] == "off":
            found.append(
                f"{where} may forget what it has answered when it dies. Set synchronous_commit to on, or live with it: "
                "running tasks send their newest facts again."
            )
        if connection.scalar(text("SELECT pg_is_in_recovery()")):
            found.append(f"{where} is a standby and takes no events. Set PETIOLE_JOURNAL_URL to its primary.")
        return found

    def list(self, owner: str, *, limit: int, before: int | None = None) -> tuple[list[Snapshot], int | None]:
        own = select(*COLUMNS).where(
            feeds.c.prefix == self._settings.key_prefix,
            feeds.c.owner == owner,
            feeds.c.name.startswith("task:"),
            feeds.c.goes_at > now_ms(),
        )
        if before is not None:
            own = own.where(feeds.c.id < before)
        page = own.order_by(feeds.c.id.desc()).limit(limit)
        rows = self._server.run(lambda connection: connection.execute(page).all(), mode=Mode.QUERY)
        return list(_readable(rows)), rows[-1].id if rows and len(rows) == limit else None


def _readable(rows: Sequence[Any]) -> Iterator[Snapshot]:
    """Yield the snapshots of those feeds that can be read."""
    for row in rows:
        try:
            yield _snapshot(Feed.of(row))
        except Refusal as error:
            log.error("feed_unreadable", extra={"feed": row.name, "error": str(error)})


def _snapshot(kept: Feed) -> Snapshot:
    return Snapshot(kept.name, kept.owner, kept.cursor, kept.fields)


def _now() -> ColumnElement[int]:
    # As a query of its own it is asked once, and an index can be searched by it.
    return select(now_ms()).scalar_subquery()


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
