"""Texts in a database: rows of their bytes, by position.

A chunk has a row of its own at first. When a text passes a multiple of one of the `SEGMENTS`, the rows that begin in the
segment before it become one, and those of the last segment do when the run ends. So neither an append nor a read meets many
rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select

from petiole.journal.sql.schema import texts
from petiole.logs import logger
from petiole.protocol.texts import Chunk, Span, Texts

log = logger(__name__)

# In bytes, ascending. No row has more than the last.
SEGMENTS: Final = (4 * 1024, 256 * 1024)

# Built once: every chunk runs the first of these statements, and many run the others.
_KEEP: Final = insert(texts)
_OWN: Final = (texts.c.feed == bindparam("of")) & (texts.c.name == bindparam("called"))
_SINCE: Final = _OWN & (texts.c.at >= bindparam("since"))
_ROWS_SINCE: Final = select(texts.c.at, texts.c.chunk).where(_SINCE).order_by(texts.c.at)
_DELETE_SINCE: Final = delete(texts).where(_SINCE)
_LAST_BEFORE: Final = select(func.max(texts.c.at)).where(_OWN, texts.c.at <= bindparam("begins")).scalar_subquery()
_ROWS_WITHIN: Final = (
    select(texts.c.at, texts.c.chunk)
    .where(_OWN, texts.c.at >= _LAST_BEFORE, texts.c.at < bindparam("ends"))
    .order_by(texts.c.at)
)


def append_chunk(connection: Connection, feed: int, chunk: Chunk) -> None:
    """Append a chunk to its text."""
    connection.execute(_KEEP, {"feed": feed, "name": chunk.name, "at": chunk.at, "chunk": chunk.text.encode()})
    passed = [size for size in SEGMENTS if chunk.at // size < chunk.end // size]
    if passed:
        _merge(connection, feed, chunk.name, since=chunk.at - chunk.at % passed[-1])


def merge_rows(connection: Connection, feed: int, lengths: Texts) -> None:
    """Leave the texts of a run that has ended in as few rows as there can be."""
    for name, length in lengths.lengths:
        _merge(connection, feed, name, since=length - length % SEGMENTS[-1])


def read_bytes(connection: Connection, feed: int, span: Span) -> bytes:
    """Return a part of a text; fewer bytes than the span has, if somebody else has changed the rows."""
    within = {"of": feed, "called": span.name, "begins": span.at, "ends": span.end}
    rows = connection.execute(_ROWS_WITHIN, within).all()
    begins = rows[0].at if rows else span.at
    found = _joined(rows)[span.at - begins : span.end - begins]
    if len(found) < span.end - span.at:
        reason = f"The text {span.name} ends at byte {span.at + len(found)}. Look for what else writes there."
        log.error("text_unreadable", extra={"feed": feed, "reason": reason})
    return found


def delete_texts(connection: Connection, found: Sequence[int]) -> None:
    """Delete all texts of these feeds."""
    connection.execute(delete(texts).where(texts.c.feed.in_(found)))


def _merge(connection: Connection, feed: int, name: str, *, since: int) -> None:
    """Replace the rows of a text that begin at `since` or later by as few as there can be."""
    own = {"of": feed, "called": name, "since": since}
    rows = connection.execute(_ROWS_SINCE, own).all()
    whole, limit = _joined(rows), SEGMENTS[-1]
    if len(rows) <= -(-len(whole) // limit):
        return
    first, last = rows[0].at, rows[-1].at
    if first + len(whole) <= last:
        return  # somebody else has changed the rows: they are left as they are
    connection.execute(_DELETE_SINCE, own)
    merged = [
        {"feed": feed, "name": name, "at": first + at, "chunk": whole[at : at + limit]}
        for at in range(0, len(whole), limit)
    ]
    connection.execute(_KEEP, merged)


def _joined(rows: Sequence[Row[int, bytes]]) -> bytes:
    """Return the bytes of rows as far as each begins where the one before ends."""
    parts: list[bytes] = []
    ends = None
    for at, chunk in rows:
        if (ends is not None and at != ends) or not isinstance(chunk, bytes):
            break
        parts.append(chunk)
        ends = at + len(chunk)
    return b"".join(parts)
