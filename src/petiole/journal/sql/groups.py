"""Groups in a database: a row for each child, and contributions under the lock of the group's feed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection, delete, func, or_, select, update

from petiole.journal import groups, rules
from petiole.journal.answers import Closed, Counted, ExpiredChild, Fenced, Held, ListedChild, Missing
from petiole.journal.groups import CHILD_STATES, FAILURES_KEPT, Child, Contribution
from petiole.journal.sql import schema
from petiole.journal.sql.children import (
    AT_ONCE,
    COLUMNS,
    ChildRows,
    add_group,
    child_of,
    end_leases,
    listed_child,
    load_group,
    save_group,
)
from petiole.journal.sql.row import COLUMNS as FEED_COLUMNS
from petiole.journal.sql.row import Feed
from petiole.journal.sql.server import Mode
from petiole.journal.sql.step import Step
from petiole.journal.sql.store import SqlStore, ms
from petiole.protocol import states
from petiole.protocol.encoding import to_json
from petiole.protocol.events import ZERO_CHAIN, Cursor, Draft, is_group

# After how many seconds a group is looked at again whose children a reaper has found expired, or has not concluded.
AGAIN: Final = 1.0

# The column is of 32 bits.
MAX_NUMBER: Final = 2**31

_rows = schema.children.c


class SqlGroups(SqlStore):
    """`Groups` in a database."""

    def open_group(
        self, feed: str, children: Sequence[Child], *, owner: str, draft: Draft, epoch: str, lease: float | None = None
    ) -> Cursor:
        groups.check_group(feed, children)
        first = groups.first_fact(draft, len(children))

        def step(step: Step) -> Cursor:
            kept, made = step.load_or_make(feed, owner=owner, epoch=epoch)
            if made:
                add_group(step, kept, children)
                kept.lease_ends = None if lease is None else step.now + ms(lease)
                step.write(kept, first, run=0)
            return kept.cursor

        return self._write(step)

    def contribute(
        self, feed: str, said: Sequence[Contribution], *, run: int, lease: float, verdict: bool = False
    ) -> Counted | Fenced | Closed | Missing:
        def step(step: Step) -> Counted | Fenced | Closed | Missing:
            kept = step.load(feed)
            if kept is None or run > kept.run:
                return Missing()
            if run < kept.run:
                return Fenced(kept.run)
            if states.is_terminal(kept.state):
                return Closed(kept.state or "")
            group, children = load_group(step, kept), ChildRows(step.connection, kept)
            there = range(sum(group.counts))
            children.load(one.child for one in said if one.child in there)
            leases = children.leases
            expired = {number for number, ends in leases.items() if ends <= step.now}
            done = groups.contribute(group, children, said, now=step.now, expired=expired if verdict else None)
            ends_at = step.now + ms(lease)
            for one, answer in zip(said, done.answers, strict=True):
                if answer.counted and one.state == states.RUNNING:
                    leases[one.child] = ends_at
                    # So that somebody looks after children whose worker disappears.
                    kept.lease_ends, kept.waits = min(kept.lease_ends or ends_at, ends_at), False
                elif answer.counted:
                    leases.pop(one.child, None)
            children.save()
            for one in done.failed:
                _keep(step, kept, one)
            if done.group != group:
                save_group(step, kept, done.group)
            if done.tells:
                if states.is_terminal(done.group.state):
                    end_leases(step, kept)
                step.write(kept, groups.draft_of(done.group, done.patch), run=kept.run)
            else:
                step.save(kept)
            due = groups.due(done.group, now=step.now)
            return Counted(kept.cursor, tuple(answer.ended for answer in done.answers), due, kept.cancel > 0)

        return self._write(step) if is_group(feed) else Missing()

    def children(
        self, feed: str, *, state: str | None = None, after: int = -1, limit: int
    ) -> tuple[list[ListedChild], int | None] | None:
        def instant(connection: Connection) -> tuple[list[ListedChild], int | None] | None:
            row = connection.execute(select(*FEED_COLUMNS).where(self._kept(feed))).one_or_none()
            if row is None or row.removed:
                return None
            kept = Feed.of(row)
            own = select(*COLUMNS, _rows.error).where(_rows.feed == kept.id, _rows.number > min(after, MAX_NUMBER - 1))
            if state is not None:
                shown = [name for name in CHILD_STATES if _shows(name, state, cancelled=kept.cancel > 0)]
                own = own.where(_rows.state.in_([CHILD_STATES.index(name) for name in shown]))
            found = connection.execute(own.order_by(_rows.number).limit(limit + 1)).all()
            page = [listed_child(kept, row) for row in found[:limit]]
            return page, page[-1].number if len(found) > limit else None

        return self._server.run(instant, mode=Mode.INSTANT) if is_group(feed) else None

    def child_messages(self, feed: str) -> dict[int, str]:
        found = (
            select(_rows.number, _rows.message)
            .join(schema.feeds, schema.feeds.c.id == _rows.feed)
            .where(self._kept(feed), _rows.message.is_not(None))
        )
        rows = self._server.run(lambda connection: connection.execute(found).all(), mode=Mode.QUERY)
        return {number: message for number, message in rows}  # noqa: C416

    def renew_children(self, feed: str, numbers: Sequence[int], *, run: int, lease: float) -> Held:
        def step(step: Step) -> Held:
            kept = step.load(feed)
            valid = kept is not None and kept.run == run and not states.is_terminal(kept.state)
            if kept is not None and valid:
                running = update(schema.children).where(_rows.feed == kept.id, _rows.lease_ends.is_not(None))
                known = [number for number in numbers if number in range(MAX_NUMBER)]
                for at in range(0, len(known), AT_ONCE):
                    chosen = running.where(_rows.number.in_(known[at : at + AT_ONCE]))
                    step.connection.execute(chosen.values(lease_ends=step.now + ms(lease)))
                step.prolong(kept, self._settings.live_kept_for)
                step.save(kept)
            return rules.held(kept, valid=valid)

        return self._write(step) if is_group(feed) else rules.held(None, valid=False)

    def expired_children(self, feed: str, *, limit: int) -> tuple[int, Sequence[ExpiredChild]]:
        def step(step: Step) -> tuple[int, Sequence[ExpiredChild]]:
            kept = step.load(feed)
            if kept is None:
                return 0, []
            if states.is_terminal(kept.state):
                kept.lease_ends = None
                step.save(kept)
                return 0, []
            running = select(*COLUMNS).where(_rows.feed == kept.id, _rows.lease_ends.is_not(None))
            rows = step.connection.execute(running.order_by(_rows.lease_ends, _rows.number).limit(max(limit, 1))).all()
            found = [_expired(kept, row) for row in rows[:limit] if row.lease_ends <= step.now]
            kept.lease_ends = step.now + ms(AGAIN if found else self._settings.unheard_after)
            if rows and not found:
                kept.lease_ends = min(kept.lease_ends, rows[0].lease_ends)
            step.save(kept)
            return kept.run, found

        return self._write(step) if is_group(feed) else (0, [])

    def repeat_children(
        self, feed: str, numbers: Sequence[int], *, draft: Draft, epoch: str, lease: float
    ) -> Cursor | Closed | Missing:
        draft.encode()

        def step(step: Step) -> Cursor | Closed | Missing:
            kept = step.load(feed)
            if kept is None:
                return Missing()
            if kept.epoch == epoch:
                return kept.cursor  # an earlier reply was lost
            if not states.is_terminal(kept.state) or kept.removed:
                return Closed(kept.state or "")
            children = ChildRows(step.connection, kept)
            children.load_all()
            again = groups.again(load_group(step, kept), children, set(numbers))
            if again is None:
                return Closed(kept.state or "")
            children.save()
            queued = (_rows.feed == kept.id) & (_rows.state == CHILD_STATES.index(states.QUEUED))
            noted = or_(_rows.error.is_not(None), _rows.message.is_not(None))
            step.connection.execute(update(schema.children).where(queued, noted).values(error=None, message=None))
            save_group(step, kept, again)
            step.connection.execute(delete(schema.facts).where(schema.facts.c.feed == kept.id))
            kept.epoch, kept.seq, kept.facts, kept.chain = epoch, 0, 0, ZERO_CHAIN
            kept.first, kept.written, kept.dropped = 1, 0, 0
            kept.run, kept.cancel, kept.waits, kept.pending_since = again.run, 0, False, None
            kept.lease_ends = step.now + ms(lease)
            step.write(kept, replace(draft, progress=groups.progress_of(again)), run=kept.run)
            return kept.cursor

        return self._write(step) if is_group(feed) else Missing()


def _keep(step: Step, feed: Feed, said: Contribution) -> None:
    """Keep what a child has failed with, and from what it can be published again."""
    own = (_rows.feed == feed.id) & (_rows.number == said.child)
    for column, text in (
        (_rows.error, None if said.error is None else to_json(said.error)),
        (_rows.message, said.message or None),
    ):
        if text is None:
            continue
        kept = select(func.count()).where(_rows.feed == feed.id, column.is_not(None), _rows.number != said.child)
        if (step.connection.scalar(kept) or 0) < FAILURES_KEPT:
            step.connection.execute(update(schema.children).where(own).values({column: text}))


def _shows(state: str, wanted: str, *, cancelled: bool) -> bool:
    return groups.listed(Child("", state=state), cancelled=cancelled) == wanted


def _expired(feed: Feed, row: Any) -> ExpiredChild:
    child = child_of(feed, row)
    return ExpiredChild(row.number, child.task_id, child.attempt, child.late, child.since)
