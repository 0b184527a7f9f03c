"""The journal in Redis (or Valkey): each verb one Lua script, so that each is one atomic step in one round trip."""

from __future__ import annotations

from collections.abc import Sequence

from petiole.errors import PetioleError
from petiole.journal.redis.groups import RedisGroups
from petiole.journal.redis.inboxes import RedisInboxes, RedisNotes
from petiole.journal.redis.inspection import inspect
from petiole.redis.cluster import Cluster
from petiole.redis.errors import translate_errors


class RedisJournal(RedisGroups, RedisInboxes, RedisNotes):
    """`Journal` on a Redis server ≥ 6.2. Writers send again what its AOF had not synced when it died."""

    def ping(self) -> None:
        with translate_errors(self._settings.journal_url):
            if isinstance(self._client, Cluster):
                self._client.ping()
            else:
                # With the commands that only scripts use: a script's error doesn't say which of them isn't allowed.
                self._call(("PING",), ("TIME",), ("PUBLISH", self._names.channel("group:petiole-ping"), ""))

    def inspect(self) -> Sequence[str]:
        try:
            with translate_errors(self._settings.journal_url):
                return inspect(self._client, self._settings.journal_url)
        except PetioleError as error:
            return (str(error),)
