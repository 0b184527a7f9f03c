"""Whether the journal takes what is written just now: asked by whoever has been refused, and by readiness."""

from __future__ import annotations

from petiole.journal.contract import Journal
from petiole.protocol.events import Draft, mint_id


def try_write(journal: Journal) -> None:
    """Write a feed that nobody reads, and take it away again.

    A server may answer `PING` and refuse each write: one that has become a replica, whose disk is full, whose rights are gone.

    Raises:
        Unavailable: the journal is away, or refuses.
    """
    journal.ping()
    feed = f"group:petiole-trial.{mint_id()}"
    journal.open(feed, owner="", draft=Draft("log"))
    journal.forget(feed)
