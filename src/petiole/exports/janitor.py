"""Removes exported files that have expired, whose task was deleted, or that a killed process left behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from petiole.errors import InvalidName
from petiole.exports.files.storage import LocalStorage
from petiole.journal import Journal
from petiole.journal.answers import Gone
from petiole.logs import logger
from petiole.loop import Loop
from petiole.protocol.events import task_feed

log = logger(__name__)

# How often it looks, and how many tasks it asks the journal about at a time.
EVERY: Final = 60.0
AT_ONCE: Final = 500


class Janitor:
    """Looks into the directory once a minute. `loop` runs it in a web process; any number of processes may."""

    def __init__(
        self, storage: LocalStorage, journal: Journal, *, wait: Callable[[float], object] | None = None
    ) -> None:
        self._storage = storage
        self._journal = journal
        self.loop = Loop("janitor of exported files", self._turn, away=EVERY, wait=wait)

    def _turn(self) -> float:
        self.look()
        return EVERY

    def look(self) -> None:
        """Remove what nobody can download any more.

        A file whose task the journal has merely lost stays until it expires: the directory may be another journal's.

        Raises:
            Unavailable: the journal is away; what has expired was removed.
            OSError: the directory can't be read.
        """
        swept = self._storage.sweep()
        keys = self._storage.keys()
        deleted = []
        for start in range(0, len(keys), AT_ONCE):
            deleted += self._deleted(keys[start : start + AT_ONCE])
        for key in deleted:
            self._storage.discard(key)
        if swept or deleted:
            log.info("exports_removed", extra={"swept": swept, "deleted": len(deleted)})

    def _deleted(self, keys: Sequence[str]) -> list[str]:
        feeds = {}
        for key in keys:
            try:
                feeds[task_feed(key)] = key
            except InvalidName:
                continue  # not a task's file
        heads = self._journal.changed_heads(dict.fromkeys(feeds))
        return [key for feed, key in feeds.items() if heads.get(feed) is Gone.REMOVED]
