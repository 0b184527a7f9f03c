"""What every part of the Redis journal stands on: connections, keys, and scripts that run in one round trip."""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from redis.exceptions import NoScriptError, RedisError

from petiole.journal.redis import calls
from petiole.journal.redis.description import A, Description, Step
from petiole.journal.redis.scripts import Limits, Scripts
from petiole.protocol.events import (
    Draft,
    partition,
)
from petiole.protocol.texts import TEXT
from petiole.redis.client import connect
from petiole.redis.cluster import Cluster
from petiole.redis.connections import Calls, Command, Replies
from petiole.redis.errors import translate_errors, translated
from petiole.redis.keys import Keys
from petiole.settings import Settings


class RedisStore:
    """The Redis behind a journal: its keys, its connections, and how a script is run there."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        # Connections of the parent process. They are kept, so that nothing here closes them.
        self._inherited: list[object] = []
        self._client = connect(settings)
        self._call = Calls(self._client)
        self._cluster = isinstance(self._client, Cluster)
        self._names = Keys(settings.key_prefix, self._client)
        live, kept, lease = (
            round(seconds * 1000) for seconds in (settings.live_kept_for, settings.kept_for, settings.lease)
        )
        limits = Limits(settings.facts_kept, settings.bytes_kept, live, kept, lease)
        self._script = Scripts(limits, cluster=self._cluster).get
        this = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: RedisStore._after_fork(this()))

    @staticmethod
    def _after_fork(store: RedisStore | None) -> None:
        """Use connections of its own in a forked process: a thread of the parent may have held a lock of redis-py's pool."""
        if store is not None:
            store._inherited += [store._client, store._call]
            store._client = connect(store._settings)
            store._call = Calls(store._client)

    def close(self) -> None:
        self._call.close()
        self._client.close()

    def _run(self, name: str, keys: Sequence[str], arguments: Sequence[str | bytes]) -> Any:
        return self._together((name, keys, arguments))[0]

    def _together(self, *steps: Step) -> Sequence[Any]:
        """Run scripts in one round trip and in their order; each is a step of its own, and may run twice."""
        commands = [self._command("EVALSHA", *step) for step in steps]
        return self._answer(functools.partial(self._call, *commands), *steps)

    def _answer(self, replies: Replies, *steps: Step) -> Sequence[Any]:
        """Wait for the replies to these steps; a server that doesn't know the scripts gets their source."""
        try:
            return replies()
        except NoScriptError:
            with translate_errors(self._settings.journal_url):
                return self._call(*(self._command("EVAL", *step) for step in steps))
        except (RedisError, OSError) as error:
            raise translated(error, self._settings.journal_url) from error

    def _command(self, word: str, name: str, keys: Sequence[str], arguments: Sequence[str | bytes]) -> Command:
        found = self._script(name)
        return (word, found.digest if word == "EVALSHA" else found.source, str(len(keys)), *keys, *arguments)

    def _members(self, script: Description[A], keys: Sequence[str], arguments: A) -> list[str]:
        """Return what a script finds in the keys of all partitions, in one step where one server has them all."""
        groups = [[key] for key in keys] if self._cluster else [keys]
        answers = self._together(*(script.step(group, arguments) for group in groups))
        return [member.decode() for answer in answers for members in answer for member in members]

    def _index(self, owner: str, feed: str) -> None:
        if not feed.startswith("user:"):
            self._run(*self._to_index(owner, feed))

    def _to_index(self, owner: str, feed: str) -> Step:
        # A step of its own, because it is in the owner's partition: the index is a hint. It lists tasks.
        arguments = calls.Index(feed, ms(self._settings.live_kept_for))
        return calls.INDEX.step([self._names.owner(owner)], arguments)

    def _event(self, feed: str, draft: Draft, *, run: int) -> list[str]:
        encoded = draft.encode()
        chunk = draft.chunk
        rest = [chunk.name, chunk.text] if chunk else [text for pair in encoded.patch.items() for text in pair]
        event = calls.EventArguments(
            channel=self._names.channel(feed),
            feed=feed,
            run=str(run),
            id=encoded.id,
            fact=TEXT if chunk else "01"[encoded.is_fact],
            body=encoded.body,
            progress=encoded.progress,
            state=draft.state or "",
            size=str(len(rest)),
        )
        return [*event, *rest]


def by_partition(feeds: Iterable[str]) -> Iterable[tuple[int, list[str]]]:
    """Yield the feeds of each partition, whose keys are on one node of a cluster."""
    for index, group in groupby(sorted(feeds, key=partition), key=partition):
        yield index, list(group)


def ms(seconds: float) -> str:
    """Return milliseconds as scripts take them."""
    return str(round(seconds * 1000))


def ms_or_none(seconds: float | None) -> str:
    """Return milliseconds as scripts take them, and '' for none."""
    return "" if seconds is None else ms(seconds)
