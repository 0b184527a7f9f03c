"""The tasks that one connection follows, and where its messages go."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

from petiole.client.followed import Followed
from petiole.protocol.events import COUNTER, Event
from petiole.protocol.reader import Reading

V = TypeVar("V", bound=Followed)

# From so many events on that wait for their reader, a counter replaces the one before it.
WAITING: Final = 1000


class Views(Generic[V]):
    """The followed tasks by their feeds."""

    def __init__(self) -> None:
        self._views: dict[str, V] = {}

    def add(self, view: V) -> None:
        """Take a task, in place of an earlier view of it."""
        self._views[view.feed] = view

    def remove(self, view: Followed) -> bool:
        """Let go of a task; says whether this view of it was the newest."""
        if self._views.get(view.feed) is not view:
            return False
        del self._views[view.feed]
        return True

    def read_all(self) -> None:
        """Have every task be read from where its reader stands: after a reconnect."""
        for view in list(self._views.values()):
            view.read()

    def read_live(self) -> None:
        """Have every task that goes on be read: with a new token."""
        for view in list(self._views.values()):
            if view.receipt is None:
                view.read()

    def on_event(self, wire: Mapping[str, Any]) -> None:
        """Take an event from the socket."""
        view = self._views.get(wire.get("feed", ""))
        if view is not None:
            view.offer(Event.from_wire(wire))

    def on_reset(self, wire: Mapping[str, Any]) -> None:
        """Take a reading that the relay sent unasked."""
        view = self._views.get(wire.get("feed", ""))
        if view is not None:
            view.take(Reading.from_wire(wire))

    def on_refused(self, wire: Mapping[str, Any]) -> None:
        """Take the end of a watch that is allowed no more."""
        view = self._views.get(wire.get("feed", ""))
        if view is not None:
            view.refuse(wire.get("error") or {})


class Waiting(deque[Event]):
    """Events that wait for who follows a task. Of a slow one's counters only the newest are kept; facts never go."""

    def take(self, event: Event) -> None:
        """Add the newest event."""
        if len(self) >= WAITING and event.kind == COUNTER and self[-1].kind == COUNTER:
            self.pop()
        self.append(event)
