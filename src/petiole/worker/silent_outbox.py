"""The outbox of a task without a feed of its own: a light child of a group. It sends nothing; the group is told its share."""

from __future__ import annotations

from petiole.protocol.events import Document, Draft
from petiole.worker.run_state import ProgressCounter, Signals


class SilentOutbox:
    """Takes what a run says, as `Outbox` does, and keeps its counts and signals only."""

    has_ended = False

    def __init__(self, feed: str) -> None:
        self.feed = feed
        self.signals = Signals()
        self.counter = ProgressCounter()
        self._loop_counter = self.counter

    def start(self) -> None:
        """Nothing is to be sent."""

    def put(self, _draft: Draft, *, otherwise: Draft | None = None) -> None:
        """Leave out a fact."""

    def write(self, _name: str, _text: str) -> bool:
        """Leave out a text."""
        return True

    def close_texts(self) -> Document:
        """Return nothing: it has no texts."""
        return {}

    @property
    def omitted(self) -> str | None:
        """The name of a text of which something was left out: none."""
        return None

    def touch(self) -> None:
        """Have no further step notify, until the run is asked to stop."""
        self._mark(dirty=not self.signals.cancel)

    def clean(self) -> None:
        """Have the next step notify."""
        self._mark(dirty=False)

    def count_in(self, counter: ProgressCounter | None) -> None:
        """Use a loop's own counter, instead of that of the loop before it."""
        self._loop_counter = counter or self.counter
        self._loop_counter.dirty = False

    def close(self) -> None:
        """Nothing is under way."""

    def disown(self) -> None:
        """Have no step notify any more, in a forked process."""
        self._mark(dirty=True)

    def flush(self, _timeout: float) -> bool:
        """Nothing is under way."""
        return True

    def _mark(self, *, dirty: bool) -> None:
        self.counter.dirty = self._loop_counter.dirty = dirty
