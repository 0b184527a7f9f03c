"""One transaction of the SQL journal: feeds are loaded under their locks, changed here, and written back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import (
    Connection,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from petiole.errors import SetupError
from petiole.journal import rules
from petiole.journal.answers import Stored
from petiole.journal.sql import schema
from petiole.journal.sql.row import COLUMNS, Feed, values_of
from petiole.journal.sql.schema import now_ms
from petiole.journal.sql.texts import append_chunk, delete_texts, merge_rows
from petiole.protocol import states
from petiole.protocol.encoding import to_json
from petiole.protocol.events import VERSION, Draft, advance_chain, fold_draft
from petiole.protocol.texts import NO_TEXTS, TEXT, TEXT_VERSION, Chunk, Texts
from petiole.settings import Settings

# Every fact postpones a live feed's end. It is written only when it moves by this share of its lifetime, because the
# column has an index.
_LIFETIME_SLACK: Final = 0.01


def _with_now(locked: Select[Any], *more: Any) -> Select[Any]:
    # Around the lock: the time is read after it, and there is one row even if nothing is found.
    here, found = select(literal(1).label("one")).subquery("here"), locked.subquery("found")
    return select(now_ms().label("now"), *more, found).select_from(here.outerjoin(found, true()))


# Built once: every event runs these statements.
_LOCK_FEED: Final = _with_now(
    select(*COLUMNS)
    .where(schema.feeds.c.prefix == bindparam("prefix"), schema.feeds.c.name == bindparam("name"))
    .with_for_update(),
    select(schema.versions.c.version).scalar_subquery().label("version"),
)

_LOCK_NOTE: Final = _with_now(
    select(schema.notes.c.text, schema.notes.c.goes_at)
    .where(schema.notes.c.prefix == bindparam("prefix"), schema.notes.c.name == bindparam("name"))
    .with_for_update()
)

_KEEP_FACT: Final = insert(schema.facts)

_SAVE_FEED: Final = update(schema.feeds).where(schema.feeds.c.id == bindparam("of"))


class Step:
    """One transaction. `now` is the server's time of the last load, `rings` what to ring once it is committed."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self.connection: Final = connection
        self._settings = settings
        self._loaded: dict[int, dict[str, Any]] = {}
        self.now = 0
        self.rings: list[tuple[str, str]] = []

    def load(self, name: str) -> Feed | None:
        """Return a feed, locked until the end; `None` if it is unknown or past its lifetime."""
        feed = self._lock(name)
        return None if feed is None or feed.goes_at <= self.now else feed

    def load_or_make(self, name: str, *, owner: str, epoch: str) -> tuple[Feed, bool]:
        """Return a feed, locked until the end, and whether it is new and empty."""
        while True:
            feed = self._lock(name)
            if feed is None:
                feed = self._insert(name, owner, epoch)
                if feed is not None:
                    return feed, True
                continue  # another transaction has inserted it meanwhile
            if feed.goes_at <= self.now:
                return self.empty(feed, owner=owner, epoch=epoch), True
            return feed, False

    def empty(self, feed: Feed, *, owner: str, epoch: str, message: str | None = "") -> Feed:
        """Return the feed as if it had just been opened; what it had is deleted, its message too unless that is `None`."""
        self._delete_parts([feed.id])
        made = Feed(feed.id, feed.name, owner, epoch, self._lifetime())
        self.save(made, **({} if message is None else {"message": message}))
        return made

    def write(self, feed: Feed, draft: Draft, *, run: int) -> Stored:
        """Number, fold and keep one event, and save the feed with it.

        Raises:
            InvalidEvent: a value isn't JSON, or the event is over its limit.
        """
        encoded = draft.encode()
        document = fold_draft(feed.fields, draft, run=run)
        before = feed.chain
        feed.seq += 1
        if encoded.is_fact:
            feed.facts += 1
            feed.chain = advance_chain(before, encoded.id)
        feed.document = to_json(document)
        feed.state = draft.state or feed.state
        progress = encoded.progress or to_json(document.get("progress"))
        version = TEXT_VERSION if draft.kind == TEXT else VERSION
        said = f',"texts":{to_json(feed.texts.to_wire())}' if feed.texts else ""
        text = (
            f'{{"v":{version},"id":"{encoded.id}","feed":"{feed.name}","epoch":"{feed.epoch}","seq":{feed.seq},"run":{run},'
            f'"facts":{feed.facts},"chain":"{feed.chain}","at":{self.now}{said},{encoded.body},"progress":{progress}}}'
        )
        terminal = states.is_terminal(draft.state)
        if terminal or encoded.is_fact:
            self.prolong(feed, self._settings.kept_for if terminal else self._settings.live_kept_for)
        if terminal:
            self.pend(feed)
        if encoded.is_fact:
            begins, feed.written = feed.written, feed.written + len(text.encode())
            row = {"feed": feed.id, "number": feed.facts, "before": before, "event": text}
            self.connection.execute(_KEEP_FACT, {**row, "begins": begins, "ends": feed.written})
            self._trim(feed)
        if rules.ends_run(draft.state):
            merge_rows(self.connection, feed.id, feed.texts)
        self.save(feed)
        self.rings.append((feed.name, text))
        return Stored(feed.cursor, feed.cancel > 0)

    def begin_texts(self, feed: Feed, lengths: Texts) -> None:
        """Take the lengths that follow from an event; texts of an earlier run are deleted."""
        if feed.texts.lengths and feed.texts.run != lengths.run:
            delete_texts(self.connection, [feed.id])
        feed.texts = lengths

    def keep_chunk(self, feed: Feed, chunk: Chunk) -> None:
        """Append a chunk to its text."""
        append_chunk(self.connection, feed.id, chunk)

    def save(self, feed: Feed, **more: Any) -> None:
        """Write what has changed of a feed, and the columns that are named."""
        values, loaded = values_of(feed), self._loaded.get(feed.id, {})
        changed = {name: value for name, value in values.items() if loaded.get(name, self) != value} | more
        if changed:
            self.connection.execute(_SAVE_FEED, {"of": feed.id, **changed})
            self._loaded[feed.id] = values

    def prolong(self, feed: Feed, lifetime: float) -> None:
        """Keep a feed for so many seconds from now on."""
        target = self.now + round(lifetime * 1000)
        if not target - lifetime * 1000 * _LIFETIME_SLACK <= feed.goes_at <= target:
            feed.goes_at = target

    def pend(self, feed: Feed) -> None:
        """Note that a task's end has yet to be notified."""
        if not feed.name.startswith("user:") and feed.pending_since is None:
            feed.pending_since = self.now

    def forget(self, name: str) -> None:
        """Delete a feed, past its lifetime or not, if there is one."""
        row = self._row(name)
        if row is not None:
            # Without reading it: an unreadable feed can be forgotten too.
            self.delete([row.id])

    def strip(self, feed: Feed) -> None:
        """Delete what belongs to a feed, and leave its row as a tombstone."""
        self._delete_parts([feed.id])
        feed.state = rules.state_once_removed(feed.state)
        feed.document, feed.first, feed.written, feed.dropped = to_json({"state": feed.state}), feed.facts + 1, 0, 0
        feed.owner, feed.removed, feed.texts = "", True, NO_TEXTS
        feed.live, feed.cancel, feed.lease_ends, feed.pending_since = False, rules.CANCEL_ASKED, None, None
        self.save(feed, message="")

    def delete(self, found: Sequence[int]) -> None:
        """Delete feeds with all that belongs to them."""
        self._delete_parts(found)
        self.connection.execute(delete(schema.feeds).where(schema.feeds.c.id.in_(found)))

    def remember(self, table: Table, feed: Feed, keys: Collection[str]) -> None:
        """Add keys of an inbox as the newest, unless they are there, and drop the oldest past `INBOX_KEPT`."""
        if not keys:
            return
        rows = [{"feed": feed.id, "key": key} for key in keys]
        self.connection.execute(self._insert_into(table).on_conflict_do_nothing(), rows)
        own = table.c.feed == feed.id
        oldest = select(table.c.id).where(own).order_by(table.c.id.desc()).offset(rules.INBOX_KEPT).limit(1)
        self.connection.execute(delete(table).where(own, table.c.id <= oldest.scalar_subquery()))

    def has(self, table: Table, feed: Feed, key: str) -> bool:
        """Say whether an inbox has a key."""
        return self.connection.scalar(select(table.c.id).where(table.c.feed == feed.id, table.c.key == key)) is not None

    def count(self, table: Table, feed: Feed) -> int:
        """Return how many keys an inbox has."""
        return self.connection.scalar(select(func.count()).where(table.c.feed == feed.id)) or 0

    def take(self, table: Table, feed: Feed, keys: Collection[str] | None) -> set[str]:
        """Take keys out of an inbox (`None`: all), and return those that were there."""
        chosen = true() if keys is None else table.c.key.in_(keys)
        return set(self.connection.scalars(delete(table).where(table.c.feed == feed.id, chosen).returning(table.c.key)))

    def note(self, prefix: str, name: str) -> str | None:
        """Return a note, locked until the end; `None` where there is none and never was one."""
        row = self.connection.execute(_LOCK_NOTE, {"prefix": prefix, "name": name}).one()
        self.now = row.now
        if row.text is None:
            return None
        return row.text if row.goes_at > self.now else ""

    def add_note(self, prefix: str, name: str) -> None:
        """Make an empty note where there is none."""
        row = {"prefix": prefix, "name": name, "text": "", "goes_at": self.now}
        self.connection.execute(self._insert_into(schema.notes).on_conflict_do_nothing(), row)

    def set_note(self, prefix: str, name: str, text: str, *, lasts: float) -> None:
        """Write over a note that is locked."""
        own = and_(schema.notes.c.prefix == prefix, schema.notes.c.name == name)
        if text:
            values = {"text": text, "goes_at": self.now + round(lasts * 1000)}
            self.connection.execute(update(schema.notes).where(own), values)
        else:
            self.connection.execute(delete(schema.notes).where(own))

    def _lock(self, name: str) -> Feed | None:
        row = self._row(name)
        if row is None:
            return None
        feed = Feed.of(row)
        self._loaded[feed.id] = values_of(feed)
        return feed

    def _row(self, name: str) -> Any:
        """Return a feed's row, locked until the end; `None` where there is none."""
        row = self.connection.execute(_LOCK_FEED, {"prefix": self._settings.key_prefix, "name": name}).one()
        self.now = row.now
        if row.version != schema.VERSION:
            raise SetupError(schema.trouble(row.version, "the database") or "")
        return None if row.id is None else row

    def _insert(self, name: str, owner: str, epoch: str) -> Feed | None:
        feed = Feed(0, name, owner, epoch, self._lifetime())
        values = {name: value for name, value in values_of(feed).items() if name != "id"}
        statement = self._insert_into(schema.feeds).on_conflict_do_nothing().returning(schema.feeds.c.id)
        made = self.connection.scalar(statement, {"prefix": self._settings.key_prefix, "message": "", **values})
        if made is None:
            return None
        feed.id = made
        self._loaded[made] = values_of(feed)
        return feed

    def _lifetime(self) -> int:
        return self.now + round(self._settings.live_kept_for * 1000)

    def _insert_into(self, table: Table) -> Any:
        dialect = sqlite if self.connection.dialect.name == "sqlite" else postgresql
        return dialect.insert(table)

    def _trim(self, feed: Feed) -> None:
        kept, over = schema.facts.c, feed.written - self._settings.bytes_kept
        first = feed.facts - self._settings.facts_kept + 1
        if feed.first >= min(first, feed.facts) and feed.dropped >= over:
            return
        # A fact is trimmed when too many follow it, or when it and they exceed the limit of bytes; never the newest.
        too_old = or_(kept.number < first, kept.begins < over)
        gone = delete(schema.facts).where(kept.feed == feed.id, kept.number < feed.facts, too_old)
        for number, ends in self.connection.execute(gone.returning(kept.number, kept.ends)):
            feed.first, feed.dropped = max(feed.first, number + 1), max(feed.dropped, ends)

    def _delete_parts(self, found: Sequence[int]) -> None:
        for table in (schema.facts, schema.seen, schema.unread, schema.groups, schema.children):
            self.connection.execute(delete(table).where(table.c.feed.in_(found)))
        delete_texts(self.connection, found)
