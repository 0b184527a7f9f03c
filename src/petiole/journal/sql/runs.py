"""Runs in a database: leases, claims, verdicts, cancelling."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, delete, select, tuple_, update

from petiole.journal import rules
from petiole.journal.answers import (
    Appended,
    Busy,
    Claimed,
    Closed,
    Expired,
    Fenced,
    Held,
    Missing,
)
from petiole.journal.sql import schema
from petiole.journal.sql.children import cancel_group
from petiole.journal.sql.schema import feeds, now_ms
from petiole.journal.sql.server import Mode
from petiole.journal.sql.step import Step
from petiole.journal.sql.store import SqlStore, ms, now
from petiole.protocol import states
from petiole.protocol.encoding import to_json
from petiole.protocol.events import Cursor, Document, Draft, is_group, mint_epoch

SWEPT_AT_ONCE: Final = 100
# Nothing past its lifetime was found: how many seconds until somebody looks again.
SWEEP_PAUSE: Final = 30.0


class SqlRuns(SqlStore):
    """`Runs` in a database."""

    # When to look again for what is past its lifetime, on `time.monotonic`.
    _sweep_at = 0.0

    def confirm(self, feed: str, *, run: int = 0, wait: bool = True, lease: float | None = None) -> None:  # noqa: ARG002
        if lease is None:
            named = update(feeds).where(self._named(feed), feeds.c.run == run).values(lease_ends=None)
        else:
            is_left = (feeds.c.state == states.RETRYING) & (feeds.c.run == run)
            waiting = update(feeds).where(self._named(feed), (feeds.c.state == states.QUEUED) | is_left)
            named = waiting.values(waits=True, lease_ends=now_ms() + ms(lease))
        self._server.run(lambda connection: connection.execute(named), mode=Mode.WRITE)

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
                    kept.run, kept.fact, kept.silent, kept.publication, kept.spent, texts = answer
                    step.begin_texts(kept, texts)
                    kept.counter, kept.live = 0, True
                    kept.worker, kept.delivery, kept.retries = worker, delivery, retries
                    kept.lease_ends = step.now + ms(lease)
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
        lifetime = now_ms() + ms(self._settings.live_kept_for)
        standing = (feeds.c.name, feeds.c.cancel, feeds.c.state)

        def step(connection: Connection) -> dict[str, Held]:
            held = dict.fromkeys(names, Held(valid=False, cancel=False))
            own = self._kept(*names), feeds.c.worker == worker, feeds.c.live
            renewed = update(feeds).where(*own).values(lease_ends=now_ms() + ms(lease), goes_at=lifetime)
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
            renewed = update(feeds).where(*same).values(lease_ends=now_ms() + ms(lease))
            self._server.run(lambda connection: connection.execute(renewed), mode=Mode.WRITE)
        return rules.held(kept, valid=valid)

    def message(self, feed: str) -> str:
        found = select(feeds.c.message).where(self._kept(feed))
        return self._server.run(lambda connection: connection.scalar(found), mode=Mode.QUERY) or ""

    def expired(self, *, limit: int) -> list[Expired]:
        self._sweep()
        own = feeds.c.prefix == self._settings.key_prefix
        ended = select(feeds.c.name, feeds.c.run, feeds.c.waits).where(own, feeds.c.lease_ends <= now())
        found = ended.order_by(feeds.c.lease_ends).limit(limit)
        # The clock was set back since these were given: without this no reaper would see them until the clock is as late again.
        too_late = own & (feeds.c.lease_ends > now() + ms(self._settings.longest_lease))

        def ask(connection: Connection) -> tuple[list[Expired], bool]:
            leases = [Expired(*row) for row in connection.execute(found)]
            return leases, connection.scalar(select(feeds.c.id).where(too_late).limit(1)) is not None

        leases, set_back = self._server.run(ask, mode=Mode.QUERY)
        if set_back:
            cut = update(feeds).where(too_late).values(lease_ends=now_ms() + ms(self._settings.lease))
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
            kept.lease_ends = None if lease is None else step.now + ms(lease)
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
            kept.lease_ends = step.now + ms(lease) if kept.live else None
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
            if is_group(feed):
                return cancel_group(step, kept, cancelling=cancelling, cancelled=cancelled, force=force)
            answer = rules.cancel(kept, force=force, has_lease=kept.lease_ends is not None)
            if not isinstance(answer, rules.Cancelled):
                return answer
            kept.cancel = answer.cancel
            if answer.at_once:
                kept.end_run()
            return step.write(kept, cancelled if answer.at_once else cancelling, run=0)

        return self._write(step)

    def _sweep(self) -> None:
        """Delete some feeds and notes that are past their lifetime; `expired` calls it."""
        if time.monotonic() < self._sweep_at:
            return

        def sweep(connection: Connection) -> int:
            gone = select(feeds.c.id).where(feeds.c.goes_at <= now()).limit(SWEPT_AT_ONCE)
            found = connection.scalars(gone.with_for_update(skip_locked=True)).all()
            if found:
                Step(connection, self._settings).delete(found)
            names = schema.notes.c.prefix, schema.notes.c.name
            old = select(*names).where(schema.notes.c.goes_at <= now()).limit(SWEPT_AT_ONCE)
            noted = connection.execute(old.with_for_update(skip_locked=True)).all()
            if noted:
                connection.execute(delete(schema.notes).where(tuple_(*names).in_([tuple(row) for row in noted])))
            return max(len(found), len(noted))

        swept = self._server.run(sweep, mode=Mode.WRITE)
        self._sweep_at = time.monotonic() + (0.0 if swept == SWEPT_AT_ONCE else SWEEP_PAUSE)
