"""Inboxes in Redis, and notes."""

from __future__ import annotations

from collections.abc import Sequence

from petiole.journal.answers import (
    Duplicate,
    Stored,
)
from petiole.journal.redis import calls
from petiole.journal.redis.description import Step
from petiole.journal.redis.replies import appended_of
from petiole.journal.redis.store import RedisStore, ms
from petiole.journal.rules import encode_notice
from petiole.protocol.events import (
    PARTITIONS,
    Document,
    check_feed,
    inbox_feed,
    mint_id,
)
from petiole.redis.errors import translate_errors


class RedisInboxes(RedisStore):
    """`Inboxes` in Redis."""

    def pending(self, *, limit: int) -> Sequence[str]:
        keys = [self._names.pending(index) for index in range(PARTITIONS)]
        return self._members(calls.PENDING, keys, calls.Pending(str(limit)))

    def settle(self, feed: str) -> None:
        with translate_errors(self._settings.journal_url):
            self._call(("ZREM", self._names.feed(feed)[-1], feed))

    def notify(self, owner: str, *, key: str, notice: Document) -> Stored | Duplicate:
        feed, text = inbox_feed(owner), encode_notice(notice)
        arguments = calls.Notify(owner, self._names.channel(feed), feed, mint_id(), check_feed(key), text)
        return self._write_inbox(calls.NOTIFY.step(self._names.inbox(feed), arguments))

    def acknowledge(self, owner: str, keys: Sequence[str] | None, *, again: bool = False) -> Stored | Duplicate:
        feed, chosen = inbox_feed(owner), [check_feed(key) for key in keys or ()]
        arguments = calls.Acknowledge(
            owner, self._names.channel(feed), feed, mint_id(), "01"[keys is None], "01"[again]
        )
        return self._write_inbox(calls.ACKNOWLEDGE.step(self._names.inbox(feed), arguments, chosen))

    def _write_inbox(self, step: Step) -> Stored | Duplicate:
        reply = appended_of(self._run(*step))
        assert isinstance(reply, Stored | Duplicate)
        return reply


class RedisNotes(RedisStore):
    """`Notes` in Redis."""

    def note(self, name: str, text: str, *, instead_of: str, lasts: float) -> str:
        step = calls.NOTE.step([self._names.note(name)], calls.Note(instead_of, text, ms(lasts)))
        before: bytes = self._run(*step)
        return before.decode()

    def notes(self, names: Sequence[str]) -> dict[str, str]:
        if not names:
            return {}
        with translate_errors(self._settings.journal_url):
            texts = self._call(*(("GET", self._names.note(name)) for name in names))
        return {name: text.decode() for name, text in zip(names, texts, strict=True) if text is not None}
