"""Events that an outbox had no room for: counted by cause, and reported."""

from __future__ import annotations

from typing import Final

from petiole.protocol.events import Document, Draft

# A line for each dropped event would displace others.
SAID_EVERY: Final = 1.0


class Dropped:
    """Counts dropped events until they are reported, at most once a second. Instants are seconds of any monotonic clock."""

    def __init__(self) -> None:
        self._while_away = 0
        self._too_fast = 0
        self.due = float("-inf")

    def __bool__(self) -> bool:
        return self._while_away + self._too_fast > 0

    def count(self, *, away: bool) -> None:
        """Count one; `away`: because the journal doesn't answer, and not because there was more than it takes."""
        if away:
            self._while_away += 1
        else:
            self._too_fast += 1

    def say(self, now: float) -> Draft:
        """Return the fact that reports all of them, and reset the counts."""
        away, fast = self._while_away, self._too_fast
        self._while_away = self._too_fast = 0
        self.due = now + SAID_EVERY
        said = []
        if away:
            said.append(f"{away:,} events were dropped while the journal was away.")
        if fast:
            said.append(f"{fast:,} events were dropped, because they came faster than the journal takes them.")
        return Draft("log", data={"level": "warning", "message": " ".join(said), "dropped": away + fast})


def stand_in(draft: Draft, reason: str) -> Draft:
    """Return the fact that replaces one that was set aside: its state is kept, and the loss is counted."""
    lasting = ("state", "finished_at", "retry_at", "texts")
    kept: Document = {name: draft.patch[name] for name in lasting if name in draft.patch}
    message = f"1 event was set aside. {reason}"
    return Draft("state" if kept else "log", kept, data={"level": "warning", "message": message, "dropped": 1})
