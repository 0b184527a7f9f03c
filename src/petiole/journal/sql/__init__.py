"""The journal in a database: PostgreSQL, or SQLite for one machine. `petiole.journal` opens it; commands upgrade its tables."""

from petiole.extras import require

require("A journal in a database", "sql", "sqlalchemy", "psycopg")

from petiole.journal.sql.journal import SqlJournal  # noqa: E402 (after the look at what it needs)

__all__ = ["SqlJournal"]
