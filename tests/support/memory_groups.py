"""Groups in one process's memory: the part of the memory journal that counts children."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from petiole.journal import groups, rules
from petiole.journal.answers import (
    Appended,
    Closed,
    Counted,
    Duplicate,
    ExpiredChild,
    Fenced,
    Held,
    ListedChild,
    Missing,
)
from petiole.journal.groups import FAILURES_KEPT, UNSUCCESSFUL, Child, Contribution, Group
from petiole.protocol import states
from petiole.protocol.encoding import to_json
from petiole.protocol.events import ZERO_CHAIN, Cursor, Draft, is_group

if TYPE_CHECKING:
    from tests.support.memory_journal import MemoryJournal, _Feed

# After how many seconds a group is looked at again whose children a reaper has found expired.
AGAIN = 1.0


@dataclass(slots=True)
class KeptGroup:
    """A group's numbers and children. State, run and cancel of `numbers` are those of its feed."""

    numbers: Group
    children: dict[int, Child]
    # By the number of the child: when its lease ends, in ms; what it has failed with; how it can be published again.
    leases: dict[int, int] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    messages: dict[int, str] = field(default_factory=dict)


def no_group() -> KeptGroup:
    """Return what is kept of a feed that was opened without children."""
    return KeptGroup(Group(states.QUEUED, 0, 0, groups.first_counts(0)), {})


class MemoryGroups:
    """`Groups` over the feeds of a `MemoryJournal`."""

    def open_group(
        self: MemoryJournal,
        feed: str,
        children: Sequence[Child],
        *,
        owner: str,
        draft: Draft,
        epoch: str,
        lease: float | None = None,
    ) -> Cursor:
        groups.check_group(feed, children)
        with self._lock:
            is_new = feed not in self._feeds
            first = groups.first_fact(draft, len(children))
            cursor = self.open(feed, owner=owner, draft=first, epoch=epoch, lease=lease)
            if is_new:
                numbers = Group(states.QUEUED, 0, 0, groups.first_counts(len(children)))
                self._feeds[feed].group = KeptGroup(numbers, dict(enumerate(children)))
            return cursor

    def contribute(
        self: MemoryJournal,
        feed: str,
        said: Sequence[Contribution],
        *,
        run: int,
        lease: float,
        verdict: bool = False,
    ) -> Counted | Fenced | Closed | Missing:
        with self._lock:
            kept = self._group(feed)
            if kept is None or run > kept.run:
                return Missing()
            if run < kept.run:
                return Fenced(kept.run)
            if states.is_terminal(kept.state):
                return Closed(kept.state or "")
            own, now = kept.group, self._now()
            expired = {number for number, ends in own.leases.items() if ends <= now}
            done = groups.contribute(_as_now(kept), own.children, said, now=now, expired=expired if verdict else None)
            ends_at = now + round(lease * 1000)
            for one, answer in zip(said, done.answers, strict=True):
                if answer.counted and one.state == states.RUNNING:
                    own.leases[one.child] = ends_at
                    # So that somebody looks after children whose worker disappears.
                    kept.lease_ends = min(kept.lease_ends or ends_at / 1000, ends_at / 1000)
                    kept.waits = False
                elif answer.counted:
                    own.leases.pop(one.child, None)
            for one in done.failed:
                _keep(own.errors, one.child, "" if one.error is None else to_json(one.error))
                _keep(own.messages, one.child, one.message)
            own.numbers = done.group
            if done.tells:
                self._write(feed, kept, groups.draft_of(done.group, done.patch), run=kept.run)
            if states.is_terminal(kept.state):
                kept.lease_ends = None
                own.leases.clear()
            due = groups.due(done.group, now=now)
            return Counted(kept.cursor, tuple(answer.ended for answer in done.answers), due, kept.cancel > 0)

    def children(
        self: MemoryJournal, feed: str, *, state: str | None = None, after: int = -1, limit: int
    ) -> tuple[list[ListedChild], int | None] | None:
        with self._lock:
            kept = self._group(feed)
            if kept is None or kept.removed:
                return None
            own, cancelled = kept.group, kept.cancel > 0
            page = [
                groups.as_listed(
                    number, child, own.errors.get(number) if child.state in UNSUCCESSFUL else None, cancelled=cancelled
                )
                for number, child in sorted(own.children.items())
                if number > after and state in (None, groups.listed(child, cancelled=cancelled))
            ]
            return page[:limit], page[limit - 1].number if len(page) > limit else None

    def child_messages(self: MemoryJournal, feed: str) -> dict[int, str]:
        with self._lock:
            kept = self._group(feed)
            return {} if kept is None else dict(kept.group.messages)

    def renew_children(self: MemoryJournal, feed: str, numbers: Sequence[int], *, run: int, lease: float) -> Held:
        with self._lock:
            kept = self._group(feed)
            valid = kept is not None and kept.run == run and not states.is_terminal(kept.state)
            if kept is not None and valid:
                own = kept.group
                own.leases |= {number: self._now() + round(lease * 1000) for number in numbers if number in own.leases}
            return rules.held(kept, valid=valid)

    def expired_children(self: MemoryJournal, feed: str, *, limit: int) -> tuple[int, Sequence[ExpiredChild]]:
        with self._lock:
            kept = self._group(feed)
            if kept is None or states.is_terminal(kept.state):
                return 0, []
            own, now = kept.group, self._now()
            found = [
                ExpiredChild(number, child.task_id, child.attempt, child.late, child.since)
                for ends, number in sorted((ends, number) for number, ends in own.leases.items())[:limit]
                if ends <= now and (child := own.children[number])
            ]
            first = min(own.leases.values(), default=None)
            later = now / 1000 + (AGAIN if found else self._settings.unheard_after)
            kept.lease_ends = later if found or first is None else min(later, first / 1000)
            return kept.run, found

    def repeat_children(
        self: MemoryJournal, feed: str, numbers: Sequence[int], *, draft: Draft, epoch: str, lease: float
    ) -> Cursor | Closed | Missing:
        with self._lock:
            draft.encode()
            kept = self._group(feed)
            if kept is None:
                return Missing()
            if kept.epoch == epoch:
                return kept.cursor
            own = kept.group
            again = None
            if states.is_terminal(kept.state) and not kept.removed:
                again = groups.again(_as_now(kept), own.children, set(numbers))
            if again is None:
                return Closed(kept.state or "")
            for number, child in own.children.items():
                if child.state == states.QUEUED:
                    own.errors.pop(number, None)
                    own.messages.pop(number, None)
            own.numbers = again
            kept.epoch, kept.seq, kept.facts, kept.chain, kept.before = epoch, 0, 0, ZERO_CHAIN, ZERO_CHAIN
            kept.kept.clear()
            kept.run, kept.cancel, kept.waits = again.run, 0, False
            kept.lease_ends = self._clock() + lease
            self.settle(feed)
            self._write(feed, kept, replace(draft, progress=groups.progress_of(again)), run=kept.run)
            return kept.cursor

    def _cancel_group(
        self: MemoryJournal, feed: str, kept: _Feed, *, cancelling: Draft, cancelled: Draft, force: bool
    ) -> Appended:
        if states.is_terminal(kept.state):
            return Closed(kept.state or "")
        after = groups.cancel(_as_now(kept), force=force, now=self._now())
        if after is None:
            return Duplicate(kept.cursor, cancel=True)
        kept.group.numbers, kept.cancel = after, after.cancel
        ends = states.is_terminal(after.state)
        if ends:
            kept.lease_ends = None
            kept.group.leases.clear()
        draft = cancelled if ends else cancelling
        return self._write(feed, kept, replace(draft, progress=groups.progress_of(after)), run=kept.run)

    def _group(self: MemoryJournal, feed: str) -> _Feed | None:
        return self._feeds.get(feed) if is_group(feed) else None

    def _now(self: MemoryJournal) -> int:
        return int(self._clock() * 1000)


def _as_now(kept: _Feed) -> Group:
    return replace(kept.group.numbers, state=kept.state or "", run=kept.run, cancel=kept.cancel)


def _keep(kept: dict[int, str], number: int, text: str) -> None:
    if text and (number in kept or len(kept) < FAILURES_KEPT):
        kept[number] = text
