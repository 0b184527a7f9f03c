"""The journal in a database: PostgreSQL, or SQLite for one machine. Each verb one transaction under the feed's row lock."""

from petiole.journal.sql.journal import SqlJournal

__all__ = ["SqlJournal"]
