"""The tables of the SQL journal, and their versions. Values are opaque JSON text; nothing parses them in SQL."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from petiole.errors import InvalidName, Refusal
from petiole.protocol.encoding import to_json
from petiole.protocol.texts import NO_TEXTS, Texts

VERSION: Final = 4
COMMAND: Final = "petiole db upgrade"

# A number that only Petiole uses: an upgrade holds this advisory lock until the end of its transaction.
_UPGRADE_LOCK: Final = 0x7065_7469_6F6C_6500


class AnyText(TypeDecorator[str]):
    """Text of any characters, kept as a JSON string: PostgreSQL's text has no place for a NUL."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: object) -> str | None:  # noqa: ARG002
        return None if value is None else to_json(value)

    def process_result_value(self, value: str | None, dialect: object) -> str | None:  # noqa: ARG002
        return None if value is None else read_text(value)


def read_text(value: str) -> str:
    """Return the text that an `AnyText` keeps as `value`.

    Raises:
        Refusal: somebody else has written over it.
    """
    try:
        text = json.loads(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise Refusal(f"A text in the database can't be read ({error}). Look for what else writes there.") from error
    if not isinstance(text, str):
        raise Refusal("A text in the database can't be read: it is no string. Look for what else writes there.")
    return text


class Lengths(TypeDecorator[Texts]):
    """How long the texts of a feed are, in the form that they have in a cursor."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Texts | None, dialect: object) -> str | None:  # noqa: ARG002
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: object) -> Texts | None:  # noqa: ARG002
        return None if value is None else read_lengths(value)


def read_lengths(value: str) -> Texts:
    """Return the lengths that a `Lengths` keeps as `value`.

    Raises:
        Refusal: somebody else has written over it.
    """
    try:
        return Texts.parse(value)
    except (TypeError, InvalidName) as error:
        raise Refusal(
            f"The lengths of texts in the database can't be read: {value!r}. Look for what else writes there."
        ) from error


class now_ms(FunctionElement[int]):
    """The server's time in milliseconds since 1970, of the moment and not of the transaction's begin."""

    type = BigInteger()
    inherit_cache = True


@compiles(now_ms, "postgresql")
def _now_in_postgresql(*_: Any, **__: Any) -> str:
    return "CAST(floor(extract(epoch FROM clock_timestamp()) * 1000) AS BIGINT)"


@compiles(now_ms, "sqlite")
def _now_in_sqlite(*_: Any, **__: Any) -> str:
    return "CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"


metadata = MetaData()

_Id = BigInteger().with_variant(Integer, "sqlite")

versions = Table("petiole_schema", metadata, Column("version", Integer, nullable=False))

feeds = Table(
    "petiole_feeds",
    metadata,
    # Rises with every feed that is opened, so it is the order of an owner's list as well.
    Column("id", _Id, primary_key=True),
    Column("prefix", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("owner", AnyText, nullable=False),
    Column("epoch", Text, nullable=False),
    Column("seq", BigInteger, nullable=False, default=0),
    Column("facts", BigInteger, nullable=False, default=0),
    Column("chain", Text, nullable=False),
    Column("state", Text),
    Column("document", Text, nullable=False, default="{}"),
    # The newest run: its number, its last fact and counter, whether it is alive, and which worker has it.
    Column("run", BigInteger, nullable=False, default=0),
    Column("fact", BigInteger, nullable=False, default=0),
    Column("counter", BigInteger, nullable=False, default=0),
    Column("live", Boolean, nullable=False, default=False),
    Column("cancel", Integer, nullable=False, default=0),
    Column("retries", BigInteger, nullable=False, default=0),
    Column("silent", Integer, nullable=False, default=0),
    Column("delivery", AnyText, nullable=False, default=""),
    # The message's present publication, and those that have ended.
    Column("publication", Text, nullable=False, default="", server_default=""),
    Column("spent", Text, nullable=False, default="", server_default=""),
    Column("worker", AnyText, nullable=False, default=""),
    Column("message", AnyText, nullable=False, default=""),
    # Somebody has removed it: the row is a tombstone.
    Column("removed", Boolean, nullable=False, default=False),
    # The broker has had its message.
    Column("waits", Boolean, nullable=False, default=False, server_default=false()),
    # How long its texts are.
    Column("texts", Lengths, nullable=False, default=NO_TEXTS, server_default=""),
    # The first fact that is kept, and how many bytes of facts were written and dropped in all.
    Column("first", BigInteger, nullable=False, default=1),
    Column("written", BigInteger, nullable=False, default=0),
    Column("dropped", BigInteger, nullable=False, default=0),
    # Instants in milliseconds since 1970, by this server's clock.
    Column("lease_ends", BigInteger),
    Column("pending_since", BigInteger),
    Column("goes_at", BigInteger, nullable=False),
    UniqueConstraint("prefix", "name"),
    sqlite_autoincrement=True,
    # Every event updates its feed: room on the page lets PostgreSQL do that without touching an index.
    postgresql_with={"fillfactor": 70},
)
for _column in ("lease_ends", "pending_since"):
    _set = text(f"{_column} IS NOT NULL")
    Index(f"petiole_feeds_{_column}", feeds.c.prefix, feeds.c[_column], postgresql_where=_set, sqlite_where=_set)
Index("petiole_feeds_owner", feeds.c.prefix, feeds.c.owner, feeds.c.id)
Index("petiole_feeds_goes_at", feeds.c.goes_at)

facts = Table(
    "petiole_facts",
    metadata,
    Column("feed", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    # The chain before the fact, so that a read can check a cursor.
    Column("before", Text, nullable=False),
    Column("event", Text, nullable=False),
    # How many bytes of facts its feed had written before this one, and with it.
    Column("begins", BigInteger, nullable=False),
    Column("ends", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)


texts = Table(
    "petiole_texts",
    metadata,
    Column("feed", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    # How many bytes of the text come before.
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    # Bytes of UTF-8: PostgreSQL's text has no place for a NUL.
    Column("chunk", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)


groups = Table(
    "petiole_groups",
    metadata,
    Column("feed", BigInteger, primary_key=True, autoincrement=False),
    # What its children add up to, as JSON.
    Column("numbers", Text, nullable=False),
    sqlite_with_rowid=False,
    # Every contribution updates it.
    postgresql_with={"fillfactor": 50},
)

children = Table(
    "petiole_children",
    metadata,
    Column("feed", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("task_id", AnyText, nullable=False),
    # The range of the children that can't run once this one has ended without success.
    Column("voids_first", Integer, nullable=False),
    Column("voids_end", Integer, nullable=False),
    # Its place in `groups.CHILD_STATES`.
    Column("state", SmallInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("done", Integer, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("late", Boolean, nullable=False),
    Column("stops", Boolean, nullable=False),
    Column("lease_ends", BigInteger),
    # What it has failed with, as JSON, and from what it can be published again.
    Column("error", Text),
    Column("message", AnyText),
    Index("petiole_children_state", "feed", "state", "number"),
    sqlite_with_rowid=False,
)
for _column, _by in (("lease_ends", "lease_ends"), ("error", "number"), ("message", "number")):
    _set = text(f"{_column} IS NOT NULL")
    Index(f"petiole_children_{_column}", children.c.feed, children.c[_by], postgresql_where=_set, sqlite_where=_set)


def _keys(name: str) -> Table:
    return Table(
        f"petiole_{name}",
        metadata,
        Column("id", _Id, primary_key=True),
        Column("feed", BigInteger, nullable=False),
        Column("key", Text, nullable=False),
        UniqueConstraint("feed", "key"),
        Index(f"petiole_{name}_order", "feed", "id"),
        sqlite_autoincrement=True,
    )


# Of an inbox: the keys that it remembers, and those that wait, in the order of their ids.
seen = _keys("seen")
unread = _keys("unread")

notes = Table(
    "petiole_notes",
    metadata,
    Column("prefix", Text, primary_key=True),
    Column("name", AnyText, primary_key=True),
    Column("text", AnyText, nullable=False),
    Column("goes_at", BigInteger, nullable=False),
    Index("petiole_notes_goes_at", "goes_at"),
)


def _add_publications(connection: Connection) -> None:
    for name in ("publication", "spent"):
        connection.execute(text(f"ALTER TABLE {feeds.name} ADD COLUMN {name} TEXT NOT NULL DEFAULT ''"))
    connection.execute(text(f"ALTER TABLE {feeds.name} ADD COLUMN waits BOOLEAN NOT NULL DEFAULT FALSE"))


def _add_texts(connection: Connection) -> None:
    connection.execute(text(f"ALTER TABLE {feeds.name} ADD COLUMN texts TEXT NOT NULL DEFAULT ''"))
    texts.create(connection)


def _add_groups(connection: Connection) -> None:
    groups.create(connection)
    children.create(connection)


# The migration from each version to the next; an empty database gets the newest tables at once.
STEPS: Final[Mapping[int, Callable[[Connection], None]]] = {
    1: _add_publications,
    2: _add_texts,
    3: _add_groups,
}


def version_of(connection: Connection) -> int | None:
    """Return the version of the tables in a database; `None` where there are none."""
    if not inspect(connection).has_table(versions.name):
        return None
    return connection.scalar(select(versions.c.version))


def upgrade(connection: Connection) -> tuple[int | None, int]:
    """Bring the tables to `VERSION` within the caller's transaction; return the version before and after.

    A newer version is left as it is. It waits for an upgrade that is under way elsewhere.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
    before = version_of(connection)
    if before is None:
        metadata.create_all(connection)
        connection.execute(versions.insert().values(version=VERSION))
        return None, VERSION
    for version in range(before, VERSION):
        STEPS[version](connection)
    if before < VERSION:
        connection.execute(update(versions).values(version=VERSION))
    return before, max(before, VERSION)


def trouble(version: int | None, where: str) -> str | None:
    """Return in a sentence what is wrong with tables of this version, or `None`."""
    if version is None:
        return f"{where} has no tables of Petiole. Run: {COMMAND}"
    if version < VERSION:
        return (
            f"The tables of Petiole at {where} are of version {version}; this Petiole needs {VERSION}. Run: {COMMAND}"
        )
    if version > VERSION:
        return (
            f"The tables of Petiole at {where} are of version {version}, written by a newer Petiole; this one knows "
            f"{VERSION}. Upgrade it. ({COMMAND} doesn't go back.)"
        )
    return None
