"""The journal's URL as SQLAlchemy has it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from petiole.errors import SetupError
from petiole.settings import SQL_SCHEMES


def read_url(given: str) -> URL:
    """Return a journal's URL as SQLAlchemy has it.

    Raises:
        SetupError: it isn't one of PostgreSQL or SQLite, or names no file or no directory that exists.
    """
    try:
        url = make_url(given)
    except ArgumentError:
        raise SetupError(
            "PETIOLE_JOURNAL_URL isn't a URL. Set it to postgresql://user@host/database or sqlite:////path/to/file."
        ) from None
    if url.drivername not in SQL_SCHEMES:
        raise SetupError(
            f"PETIOLE_JOURNAL_URL begins with {url.drivername}://, which isn't a database of Petiole's. Set it to "
            "postgresql://user@host/database or sqlite:////path/to/file."
        )
    if url.drivername != "sqlite":
        return url.set(drivername="postgresql+psycopg")
    if url.database in (None, "", ":memory:"):
        raise SetupError("A SQLite journal has to be in a file. Set PETIOLE_JOURNAL_URL to sqlite:////path/to/file.")
    folder = Path(str(url.database)).absolute().parent
    if not folder.is_dir():
        raise SetupError(f"There is no directory {folder} for the journal. Make it, or set PETIOLE_JOURNAL_URL.")
    return url


def address(url: URL) -> str:
    """Return where a URL points, without its password, for messages."""
    if url.drivername == "sqlite":
        return str(url.database)
    return f"{url.host or 'localhost'}:{url.port or 5432}/{url.database or ''}"
