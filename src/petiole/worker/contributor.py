"""Sends what the children of groups say of themselves: at once where that is possible, else until the journal has it.

All that is said is absolute, so saying it again changes nothing. Redis syncs its append-only file once a second: what it has
acknowledged right before a crash can be lost. So the newest contributions are kept until they are on disk, and are made again
if the journal was away, or if the last one of them turns out to be missing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from petiole.dispatch.part import Part
from petiole.errors import PetioleError, Unavailable
from petiole.journal import Journal
from petiole.journal.answers import Closed, Counted, Fenced, Missing
from petiole.journal.groups import OPEN, Contribution
from petiole.logs import logger
from petiole.loop import Loop, is_outage
from petiole.settings import Settings
from petiole.worker.durability import SYNCED_WITHIN
from petiole.worker.patience import REFUSED_FOR

log = logger(__name__)

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 0.8
AT_ONCE: Final = 500
# A group whose children have said nothing for so long is forgotten here.
IDLE: Final = 600.0
# How often the journal is asked whether the last contributions are there still, at most.
LOOK_EVERY: Final = 1.0
# How long a success is held at most.
HELD_FOR: Final = 0.01
# A wake-up that is so little late doesn't matter.
SLACK: Final = 0.02

Reply: TypeAlias = Counted | Fenced | Closed | Missing


@dataclass(slots=True)
class _Group:
    """What this process has said to one run of a group."""

    feed: str
    run: int
    # By child: what the journal hasn't got yet; the newest says it all.
    pending: dict[int, Contribution] = field(default_factory=dict)
    # What it has got, perhaps not on disk, and when.
    sent: deque[tuple[float, Contribution]] = field(default_factory=deque)
    # What is said together with what comes next, and when the thread sends it, if it is held still.
    held: list[Contribution] = field(default_factory=list)
    holds: float | None = None
    # When to ring what hasn't rung, and when to look whether the last contributions are there still.
    rings: float | None = None
    looks: float | None = None
    used: float = 0.0
    unknown: bool = False
    # Since when the journal refuses this group though it is there, and until when that isn't tried again.
    refused: float | None = None
    paused: float = 0.0


class Contributor:
    """The contributions of one process. Thread-safe; its thread starts with the first group.

    `on_cancel` is called with a feed and its run once the journal has said that the group is to stop. `turn` is called in the
    thread's turns, and returns when to call it again; `clock` in seconds, as that.
    """

    def __init__(
        self,
        journal: Journal,
        settings: Settings,
        *,
        on_cancel: Callable[[str, int], None] = lambda _feed, _run: None,
        turn: Callable[[], float | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal = journal
        self._settings = settings
        self._on_cancel = on_cancel
        self._also = turn
        self._clock = clock
        self._groups: dict[tuple[str, int], _Group] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._away = False
        self._pause = FIRST_PAUSE
        # When the thread wakes up by itself.
        self._wakes = 0.0

    def say(self, part: Part, said: Contribution) -> Reply | None:
        """Make a contribution from the calling thread; `None`: the journal is away, and has it later."""
        with self._changed:
            group = self._group_of(part)
            # The thread may be sending something: without an answer a child of a cancelled group would begin.
            self._changed.wait_for(lambda: self._away or not group.pending, self._settings.flush_timeout)
            together = [*self._release(group), said]
            if self._away or group.pending:
                for each in together:
                    self._wait_with(group, each)
                return None
        try:
            reply = self._journal.contribute(group.feed, together, run=group.run, lease=self._settings.lease)
        except Unavailable as error:
            with self._changed:
                self._note_unsaid(group, error)
                for each in together:
                    self._wait_with(group, each)
            return None
        with self._changed:
            self._take(group, together, reply)
            self._start()
            due = min(filter(None, (group.rings, group.looks)), default=None)
            if due is not None and due + SLACK < self._wakes:
                self._changed.notify_all()
        self._pass_on(group, reply)
        return replace(reply, ended=reply.ended[-1:]) if isinstance(reply, Counted) else reply

    def hold(self, part: Part, said: Contribution) -> bool:
        """Make a contribution together with the next one of its group, or soon; false: the journal is away, and has it later.

        For the success of a task whose message is acknowledged already. If the process is killed within that time, the group
        finds what became of the task as it does with one that was running.
        """
        with self._changed:
            group = self._group_of(part)
            if self._away or group.pending:
                self._wait_with(group, said)
                return False
            until = self._clock() + HELD_FOR
            if not group.held:
                group.holds = until
            group.held.append(said)
            self._start()
            if until + SLACK < self._wakes:
                self._changed.notify_all()
        return True

    def say_later(self, part: Part, said: Contribution) -> None:
        """Make a contribution from the thread: for a caller that mustn't wait."""
        with self._changed:
            self._wait_with(self._group_of(part), said)

    def flush(self, timeout: float, part: Part | None = None) -> bool:
        """Wait until the journal has everything, of one group or of all; at most `timeout` seconds. Says whether it has."""
        with self._changed:
            groups = list(self._groups.values()) if part is None else [self._group_of(part)]
            for group in groups:
                for said in self._release(group):
                    self._wait_with(group, said)
            return self._changed.wait_for(lambda: not any(group.pending for group in groups), timeout)

    def close(self, timeout: float) -> bool:
        """Wait until the journal has everything and has rung it, as before the process ends; at most `timeout` seconds.

        Says whether the journal has everything.
        """
        deadline = self._clock() + timeout
        has_all = self.flush(timeout)
        with self._changed:
            # By the first ring that is due what this process has said is told, whoever else goes on.
            due = [(group, group.rings) for group in self._groups.values() if group.rings is not None]
            self._changed.wait_for(
                lambda: self._away or all(group.rings is None or group.rings > rings for group, rings in due),
                max(deadline - self._clock(), 0.0),
            )
        return has_all

    def wake(self) -> None:
        """Have the thread take its turn."""
        with self._changed:
            self._start()
            self._changed.notify_all()

    def _release(self, group: _Group) -> list[Contribution]:
        """Return what is held of a group, which is to be sent now."""
        # `holds` stays: the thread needn't be woken for each child then, where one follows the other.
        held, group.held = group.held, []
        return held

    def _group_of(self, part: Part) -> _Group:
        key = (part.feed, part.run)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(*key)
        group.used = self._clock()
        return group

    def _wait_with(self, group: _Group, said: Contribution) -> None:
        group.pending.pop(said.child, None)
        group.pending[said.child] = said
        self._start()
        self._changed.notify_all()

    def _start(self) -> None:
        if self._thread is None:
            loop = Loop("contributions", self._turn)
            self._thread = threading.Thread(target=loop.run, name="petiole-contributions", daemon=True)
            self._thread.start()

    def _turn(self) -> float:
        also = self._also()
        with self._changed:
            now = self._clock()
            due = [also, *(group.holds for group in self._groups.values())]
            for group in self._groups.values():
                own = [now] if group.pending else [each for each in (group.rings, group.looks) if each is not None]
                due += [max(each, group.paused) for each in own]
            wakes = min((each for each in due if each is not None), default=now + IDLE)
            if self._away:
                wakes = max(wakes, now + self._pause)
            if wakes > now:
                self._wakes = wakes
                self._changed.wait(wakes - now)
                self._wakes = 0.0
            now = self._clock()
            groups = list(self._groups.values())
            for group in groups:
                if group.holds is not None and group.holds <= now:
                    group.pending |= {said.child: said for said in self._release(group)}
                    group.holds = None
                if now - group.used > IDLE and not (group.pending or group.sent or group.held):
                    del self._groups[group.feed, group.run]
        for group in groups:
            if not self._serve(group, now):
                break
        return 0.0

    def _serve(self, group: _Group, now: float) -> bool:
        """Send what waits, ring what is due, or look whether the last contributions are there still; false: it is away."""
        with self._changed:
            if group.paused > now:
                return True
            said = list(group.pending.values())[:AT_ONCE]
            looks = not said and group.looks is not None and group.looks <= now
            if looks:
                said = self._last_ones(group, now)
            if not said and not (group.rings is not None and group.rings <= now):
                return True
        try:
            reply = self._journal.contribute(group.feed, said, run=group.run, lease=self._settings.lease)
        except Unavailable as error:
            with self._changed:
                self._note_unsaid(group, error)
            return not is_outage(error)
        except PetioleError:
            log.exception("contributions_invalid", extra={"feed": group.feed})
            reply = Missing()
        with self._changed:
            if self._away:
                self._note_back()
            for each in said:
                if group.pending.get(each.child) is each:
                    del group.pending[each.child]
            group.refused, group.paused = None, 0.0
            if looks and said[0].state not in OPEN and isinstance(reply, Counted) and not reply.ended[0]:
                log.warning(
                    "contributions_made_again", extra={"feed": group.feed, "reason": "The journal has lost them."}
                )
                self._make_again(group)
            self._take(group, [] if looks else said, reply)
            if looks:
                self._settle(group, now)
            self._changed.notify_all()
        self._pass_on(group, reply)
        return True

    def _pass_on(self, group: _Group, reply: Reply) -> None:
        # What runs of a group that has ended, or of an earlier run of it, counts for nothing.
        if isinstance(reply, Fenced | Closed) or (isinstance(reply, Counted) and reply.cancel):
            self._on_cancel(group.feed, group.run)

    def _take(self, group: _Group, said: Sequence[Contribution], reply: Reply) -> None:
        now = self._clock()
        if not isinstance(reply, Counted):
            # Nobody counts these any more.
            if isinstance(reply, Missing) and not group.unknown:
                group.unknown = True
                reason = "The journal doesn't have it any more, so its tasks run uncounted."
                log.error("group_unknown", extra={"feed": group.feed, "reason": reason})
            group.pending.clear()
            group.sent.clear()
            group.rings = group.looks = None
            return
        group.rings = None if reply.due is None else now + reply.due
        group.sent.extend((now, each) for each in said)
        if group.sent and group.looks is None:
            group.looks = now + SYNCED_WITHIN

    def _last_ones(self, group: _Group, now: float) -> list[Contribution]:
        """Return the contributions that should be on disk, from the last end on.

        If the journal has that end, it has all before it: what it loses, it loses from some instant on.
        """
        last: list[Contribution] = []
        for at, each in reversed(group.sent):
            if at <= now - SYNCED_WITHIN:
                last.append(each)
                if each.state not in OPEN:
                    break
        return last[::-1]

    def _settle(self, group: _Group, now: float) -> None:
        """Forget what is on disk."""
        while group.sent and group.sent[0][0] <= now - SYNCED_WITHIN:
            group.sent.popleft()
        # Not once for each of them, as they come of age one after the other.
        group.looks = max(group.sent[0][0] + SYNCED_WITHIN, now + LOOK_EVERY) if group.sent else None

    def _make_again(self, group: _Group) -> None:
        """Have all that may be lost made again, before what waits."""
        again = {each.child: each for _, each in group.sent}
        group.pending = {**again, **group.pending}
        group.sent.clear()
        group.looks = None

    def _note_unsaid(self, group: _Group, error: Unavailable) -> None:
        """Take note of a call that failed: the journal is away, or it refuses this group alone."""
        if is_outage(error):
            self._note_away(error)
            return
        now = self._clock()
        if group.refused is None:
            group.refused = now
            log.warning("contributions_refused", extra={"feed": group.feed, "error": str(error)})
        group.paused = now + LONGEST_PAUSE
        if now - group.refused > REFUSED_FOR:
            log.error("group_given_up", extra={"feed": group.feed, "error": str(error)})
            group.pending.clear()
            group.sent.clear()
            group.rings = group.looks = None

    def _note_away(self, error: PetioleError) -> None:
        if not self._away:
            log.warning("contributions_wait", extra={"error": str(error)})
        self._pause = min(2 * self._pause, LONGEST_PAUSE) if self._away else FIRST_PAUSE
        self._away = True

    def _note_back(self) -> None:
        # It may have crashed, and have lost its last second.
        self._away, self._pause = False, FIRST_PAUSE
        for group in self._groups.values():
            self._make_again(group)
