"""The journal in a database: PostgreSQL, or SQLite for one machine. Each verb one transaction under the feed's row lock."""

from petiole.extras import require

require("A journal in a database", "sql", "sqlalchemy", "psycopg")

from petiole.journal.sql.journal import SqlJournal  # noqa: E402 (after the look at what it needs)

__all__ = ["SqlJournal"]
