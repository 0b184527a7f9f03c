"""Inboxes in a database, and notes."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update

from petiole.journal import rules
from petiole.journal.answers import (
    Duplicate,
    Stored,
)
from petiole.journal.rules import INBOX_START, encode_notice
from petiole.journal.sql import schema
from petiole.journal.sql.row import Feed
from petiole.journal.sql.schema import feeds, now_ms
from petiole.journal.sql.server import Mode
from petiole.journal.sql.step import Step
from petiole.journal.sql.store import SqlStore, now
from petiole.protocol.events import Document, Draft, check_feed, inbox_feed


class SqlInboxes(SqlStore):
    """`Inboxes` in a database."""

    def pending(self, *, limit: int) -> Sequence[str]:
        waiting = select(feeds.c.name).where(
            feeds.c.prefix == self._settings.key_prefix, feeds.c.pending_since.is_not(None), feeds.c.goes_at > now()
        )
        found = waiting.order_by(feeds.c.pending_since, feeds.c.id).limit(limit)
        return self._server.run(lambda connection: connection.scalars(found).all(), mode=Mode.QUERY)

    def settle(self, feed: str) -> None:
        named = update(feeds).where(self._named(feed)).values(pending_since=None)
        self._server.run(lambda connection: connection.execute(named), mode=Mode.WRITE)

    def notify(self, owner: str, *, key: str, notice: Document) -> Stored | Duplicate:
        check_feed(key)
        encode_notice(notice)

        def step(step: Step) -> Stored | Duplicate:
            kept, _ = step.load_or_make(inbox_feed(owner), owner=owner, epoch=INBOX_START.epoch)
            if step.has(schema.seen, kept, key):
                return self._again(step, kept)
            step.remember(schema.seen, kept, [key])
            step.remember(schema.unread, kept, [key])
            patch = rules.notify(kept.fields, key, notice, unread=step.count(schema.unread, kept))
            return step.write(kept, Draft("notice", patch, data=notice), run=0)

        return self._write(step)

    def acknowledge(self, owner: str, keys: Sequence[str] | None, *, again: bool = False) -> Stored | Duplicate:
        chosen = list(dict.fromkeys(check_feed(key) for key in keys or ()))

        def step(step: Step) -> Stored | Duplicate:
            kept, _ = step.load_or_make(inbox_feed(owner), owner=owner, epoch=INBOX_START.epoch)
            taken = step.take(schema.unread, kept, None if keys is None else chosen)
            if again:
                step.take(schema.seen, kept, chosen)
            else:
                step.remember(schema.seen, kept, chosen)
            if not taken:
                return self._again(step, kept)
            patch = rules.acknowledge(kept.fields, taken, unread=step.count(schema.unread, kept))
            return step.write(kept, Draft("acknowledged", patch), run=0)

        return self._write(step)

    def _again(self, step: Step, inbox: Feed) -> Duplicate:
        step.prolong(inbox, self._settings.live_kept_for)
        step.save(inbox)
        return Duplicate(inbox.cursor)


class SqlNotes(SqlStore):
    """`Notes` in a database."""

    def note(self, name: str, text: str, *, instead_of: str, lasts: float) -> str:
        prefix = self._settings.key_prefix

        def step(step: Step) -> str:
            before = step.note(prefix, name)
            while before is None and instead_of == "" and text:
                step.add_note(prefix, name)
                before = step.note(prefix, name)
            if before is not None and before == instead_of:
                step.set_note(prefix, name, text, lasts=lasts)
            return before or ""

        return self._write(step)

    def notes(self, names: Sequence[str]) -> dict[str, str]:
        if not names:
            return {}
        notes = schema.notes.c
        found = select(notes.name, notes.text).where(
            notes.prefix == self._settings.key_prefix, notes.name.in_(names), notes.goes_at > now_ms()
        )
        rows = self._server.run(lambda connection: connection.execute(found).all(), mode=Mode.QUERY)
        return {name: text for name, text in rows if text}
