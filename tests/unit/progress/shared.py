"""What the tests of `progress` share."""

from __future__ import annotations

from petiole.protocol.events import Draft
from tests.unit.runs import FEED, SOON, document, facts


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def kept(run, journal):
    """The document once the journal has all events."""
    run.outbox.touch()
    assert run.outbox.flush(SOON)
    return document(journal)


def warnings(journal):
    return [event.data["message"] for event in facts(journal) if (event.data or {}).get("level") == "warning"]


def cancel(journal):
    journal.cancel(
        FEED, cancelling=Draft("state", {"state": "cancelling"}), cancelled=Draft("state", {"state": "cancelled"})
    )
