"""The journal keeps: ordered, numbered, atomic. `contract.py` says what it promises."""

from petiole.journal.contract import Journal
from petiole.journal.redis import RedisJournal
from petiole.settings import Settings


def open_journal(settings: Settings) -> Journal:
    """Return the journal that `settings.journal_url` names.

    Raises:
        SetupError: no journal answers to such a URL.
    """
    return RedisJournal(settings)


__all__ = ["Journal", "open_journal"]
