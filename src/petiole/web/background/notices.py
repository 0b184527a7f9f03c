"""The courier: puts a notice of each finished task into the inbox of who started it.

The web side delivers: a worker may not write into a person's inbox. Any number of web processes may deliver: the journal keeps
one notice for each task, and a task whose notice was acknowledged before it came leaves a tombstone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from petiole.dispatch.message import NOBODY, now_ms
from petiole.errors import InvalidEvent
from petiole.journal import Journal
from petiole.journal.answers import Snapshot
from petiole.journal.rules import encode_notice
from petiole.logs import logger
from petiole.loop import Delays, Loop, is_outage
from petiole.protocol.events import Document, is_group
from petiole.protocol.states import is_terminal
from petiole.protocol.values import words

log = logger(__name__)

TICK: Final = 0.5
PAUSE: Final = 5.0
AT_ONCE: Final = 100
TITLE_LIMIT: Final = 80
TITLE_BYTES: Final = 350


def notice_of(snapshot: Snapshot) -> Document:
    """Return what an inbox says of a finished task: title, state and instant, and as much more as fits into a notice.

    Of a group also how many of its tasks are in each state.
    """
    document = snapshot.document
    title = words(document.get("title") or "Task", characters=TITLE_LIMIT, size=TITLE_BYTES)
    notice: Document = {
        "title": title,
        "state": document.get("state"),
        "at": document.get("finished_at") or now_ms(),
    }
    children = (document.get("progress") or {}).get("children")
    if is_group(snapshot.feed) and children:
        notice["children"] = {state: number for state, number in children.items() if number}
    artifacts = document.get("artifacts") or [{}]
    file = {name: artifacts[0][name] for name in ("name", "url", "expires_at") if artifacts[0].get(name) is not None}
    for name, value in (("artifact", file), ("reason", document.get("reason"))):
        if value:
            try:
                encode_notice({**notice, name: value})
            except InvalidEvent:
                continue  # the task's page has it
            notice[name] = value
    return notice


class NoticeDelivery:
    """Delivers, twice a second, the notices of tasks that have ended. `run` blocks until `close`."""

    def __init__(self, journal: Journal, *, wait: Callable[[float], bool] | None = None) -> None:
        self._journal = journal
        self._delays = Delays()
        self.loop = Loop("courier", self._turn, away=PAUSE, wait=wait)

    def run(self) -> None:
        """Deliver, and deliver again, until `close`."""
        self.loop.run()

    def _turn(self) -> float:
        self.deliver()
        return TICK

    def deliver(self) -> None:
        """Deliver every notice that waits.

        Raises:
            Unavailable: the journal is away; what wasn't delivered still waits.
        """
        # What is put off stands first: it mustn't take the others' places.
        for feed in self._journal.pending(limit=AT_ONCE + len(self._delays)):
            if self._delays.waits(feed):
                continue
            try:
                snapshot = self._journal.snapshot(feed)
                if snapshot is not None and not is_terminal(snapshot.document.get("state")):
                    continue  # a group that has begun again meanwhile: it waits for its notice when it ends
                # The group of which a task is part has a notice for all of its tasks.
                if snapshot is not None and snapshot.owner != NOBODY and not snapshot.document.get("group"):
                    self._journal.notify(snapshot.owner, key=feed, notice=notice_of(snapshot))
                self._journal.settle(feed)
                self._delays.clear(feed)
            except Exception as error:
                if is_outage(error):
                    raise
                # It keeps its place, for later or for somebody who can read it, and the others go on.
                log.exception("notice_put_off", extra={"feed": feed})
                self._delays.put_off(feed)

    def close(self) -> None:
        """End `run`."""
        self.loop.close()
