"""Whether the journal accepts writes at the moment: asked after a refusal, and by readiness."""

from __future__ import annotations

from petiole.journal.contract import Journal
from petiole.protocol.events import Draft, mint_id


def try_write(journal: Journal) -> None:
    """Write a feed that nobody reads, and delete it again.

    A server may answer `PING` and refuse every write: it has become a replica, its disk is full, or the user has lost a right.

    Raises:
        Unavailable: the journal is away, or refuses.
    """
    journal.ping()
    # An inbox is in no list of tasks.
    feed = f"user:petiole-trial.{mint_id()}"
    journal.open(feed, owner="", draft=Draft("log"))
    journal.forget(feed)
