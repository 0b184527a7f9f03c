"""Groups in Redis: their children in one string, and contributions in one script."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from itertools import islice
from typing import Final

from petiole.errors import Refusal
from petiole.journal import groups
from petiole.journal.answers import Closed, Counted, ExpiredChild, Fenced, Held, ListedChild, Missing
from petiole.journal.groups import CHILD_STATES, UNSUCCESSFUL, Child, Contribution, as_listed, listed
from petiole.journal.redis import calls
from petiole.journal.redis.children import RECORD_SIZE, has_id, in_states, packed, unpacked
from petiole.journal.redis.replies import counted_of, cursor_of, held_of
from petiole.journal.redis.runs import RedisRuns
from petiole.journal.redis.store import ms, ms_or_none
from petiole.journal.rules import held
from petiole.protocol.encoding import to_json
from petiole.protocol.events import Cursor, Draft, is_group, mint_id
from petiole.redis.errors import translate_errors

# How many records are looked through at most for a page of one state: first so many, then as many more.
LOOKED_AT: Final = (1_000, 19_000)
# After how many seconds a group is looked at again whose children a reaper has found expired, or has not concluded.
AGAIN: Final = 1.0


class RedisGroups(RedisRuns):
    """`Groups` in Redis."""

    def open_group(
        self, feed: str, children: Sequence[Child], *, owner: str, draft: Draft, epoch: str, lease: float | None = None
    ) -> Cursor:
        groups.check_group(feed, children)
        records, others = packed(children)
        event = self._event(feed, groups.first_fact(draft, len(children)), run=0)
        rest: list[str | bytes] = [records, *event, *(text for pair in others.items() for text in pair)]
        step = calls.OPEN_GROUP.step(self._names.feed(feed), calls.OpenGroup(epoch, owner, ms_or_none(lease)), rest)
        return cursor_of(self._together(step, self._to_index(owner, feed))[0][1:])

    def contribute(
        self, feed: str, said: Sequence[Contribution], *, run: int, lease: float, verdict: bool = False
    ) -> Counted | Fenced | Closed | Missing:
        if not is_group(feed):
            return Missing()
        arguments = calls.Contribute(str(run), ms(lease), "01"[verdict], mint_id(), feed, self._names.channel(feed))
        rest: list[str] = []
        for one in said:
            place, name = one.stage or (0, "")
            rest += (
                str(one.child),
                str(CHILD_STATES.index(one.state)),
                str(one.kept_attempt),
                str(one.kept_done),
                "01"[one.late],
                "01"[one.stops],
                "" if one.error is None else to_json(one.error),
                one.message,
                str(place),
                to_json(name),
            )
        return counted_of(self._run(*calls.CONTRIBUTE.step(self._names.feed(feed), arguments, rest)))

    def children(
        self, feed: str, *, state: str | None = None, after: int = -1, limit: int
    ) -> tuple[list[ListedChild], int | None] | None:
        if not is_group(feed) or self.snapshot(feed) is None:
            return None
        found: list[tuple[int, bytes, bool]] = []
        last, total = max(after, -1), 0
        for number in (limit,) if state is None else LOOKED_AT:
            first = last + 1
            records, total, cancelled = self._records(feed, first, number)
            states = None if state is None else _kept_as(state, cancelled=cancelled)
            found += (
                (first + place, records[place * RECORD_SIZE : (place + 1) * RECORD_SIZE], cancelled)
                for place in islice(in_states(records, states), limit - len(found))
            )
            last = found[-1][0] if len(found) == limit else first + len(records) // RECORD_SIZE - 1
            if len(found) == limit or last + 1 >= total:
                break
        ids, failures = (self._names.child(feed, name) for name in ("ids", "failures"))
        others = self._fields(ids, [number for number, record, _ in found if not has_id(record)])
        children = [
            (number, child, cancelled)
            for first, record, cancelled in found
            for number, child in unpacked(record, first=first, others=others)
        ]
        errors = self._fields(failures, [number for number, child, _ in children if child.state in UNSUCCESSFUL])
        try:
            page = [
                as_listed(number, child, errors.get(number), cancelled=cancelled)
                for number, child, cancelled in children
            ]
        except (ValueError, RecursionError) as error:
            raise Refusal(f"An error of {feed} can't be read ({error}). Look for what else writes there.") from error
        return page, last if last + 1 < total else None

    def _records(self, feed: str, first: int, number: int) -> tuple[bytes, int, bool]:
        """Return the records of so many children, how many there are in all, and whether the group is cancelled."""
        key = self._names.child(feed, "children")
        begin, end = str(first * RECORD_SIZE), str((first + number) * RECORD_SIZE - 1)
        with translate_errors(self._settings.journal_url):
            records, size, cancel = self._call(
                ("GETRANGE", key, begin, end), ("STRLEN", key), ("HGET", self._names.feed(feed)[0], "cancel")
            )
        return records, size // RECORD_SIZE, int(cancel or b"0") > 0

    def _fields(self, key: str, numbers: Sequence[int]) -> dict[int, str]:
        """Return those fields of a hash that are numbers of children."""
        if not numbers:
            return {}
        with translate_errors(self._settings.journal_url):
            [values] = self._call(("HMGET", key, *map(str, numbers)))
        return {number: value.decode() for number, value in zip(numbers, values, strict=True) if value is not None}

    def child_messages(self, feed: str) -> dict[int, str]:
        key = self._names.child(feed, "messages")
        with translate_errors(self._settings.journal_url):
            numbers, messages = self._call(("HKEYS", key), ("HVALS", key))
        return {int(number): text.decode() for number, text in zip(numbers, messages, strict=True)}

    def renew_children(self, feed: str, numbers: Sequence[int], *, run: int, lease: float) -> Held:
        if not is_group(feed):
            return held(None, valid=False)
        arguments = calls.RenewChildren(str(run), ms(lease))
        return held_of(
            self._run(
                *calls.RENEW_CHILDREN.step(self._names.feed(feed), arguments, [str(number) for number in numbers])
            )
        )

    def expired_children(self, feed: str, *, limit: int) -> tuple[int, Sequence[ExpiredChild]]:
        if not is_group(feed):
            return 0, []
        arguments = calls.ExpiredChildren(feed, str(limit), ms(AGAIN), ms(self._settings.unheard_after))
        run, rows = self._run(*calls.EXPIRED_CHILDREN.step(self._names.feed(feed), arguments))
        return int(run), [
            ExpiredChild(int(number), json.loads(task_id), int(attempt), late == b"1", int(since))
            for number, task_id, attempt, late, since in rows
        ]

    def repeat_children(
        self, feed: str, numbers: Sequence[int], *, draft: Draft, epoch: str, lease: float
    ) -> Cursor | Closed | Missing:
        if not is_group(feed):
            return Missing()
        rest = [*self._event(feed, draft, run=0), *(str(number) for number in numbers)]
        reply = self._run(
            *calls.REPEAT_CHILDREN.step(self._names.feed(feed), calls.RepeatChildren(epoch, ms(lease)), rest)
        )
        match reply[0]:
            case b"closed":
                return Closed(reply[1].decode())
            case b"missing":
                return Missing()
            case _:
                return cursor_of(reply[1:])


def _kept_as(state: str, *, cancelled: bool) -> Collection[str]:
    """Return the states in which children are kept that lists show in this one."""
    return [kept for kept in CHILD_STATES if listed(Child("", state=kept), cancelled=cancelled) == state]
