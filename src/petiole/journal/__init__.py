"""The journal keeps: ordered, numbered, atomic. Dispatch, worker, web and commands import it; `contract.py` is its promise."""

from __future__ import annotations

from urllib.parse import urlsplit

from petiole.bus import open_ring
from petiole.errors import SetupError, Unavailable
from petiole.journal.contract import Journal
from petiole.journal.redis.journal import RedisJournal
from petiole.logs import logger
from petiole.redis.client import look_at
from petiole.settings import SQL_SCHEMES, Settings, is_amqp, is_redis

log = logger(__name__)


def open_journal(settings: Settings, *, rings: bool = True) -> Journal:
    """Return the journal that `settings.journal_url` names. `rings=False` is for readers: it needs no bus.

    Raises:
        SetupError: no journal answers to such a URL, its tables aren't there, its certificate isn't trusted, or it has no bus.
    """
    if is_redis(settings.journal_url):
        look_at(settings)
        return RedisJournal(settings)
    scheme = urlsplit(settings.journal_url).scheme
    if scheme not in SQL_SCHEMES:
        why = "where nothing can be read again" if is_amqp(settings.journal_url) else "which Petiole can't use"
        raise SetupError(
            f"PETIOLE_JOURNAL_URL begins with {scheme}://, {why}. Set it to a redis://, postgresql:// or sqlite:/// URL."
        )
    from petiole.journal.sql import SqlJournal

    journal = SqlJournal(settings, ring=open_ring(settings) if rings else None)
    try:
        journal.look_at_tables()
    except Unavailable as error:
        # As with Redis: it may be started later; until then each call raises `Unavailable`.
        log.warning("journal_away", extra={"error": str(error)})
    return journal


__all__ = ["Journal", "open_journal"]
