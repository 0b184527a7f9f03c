"""The source database of a fault run's exports."""

from __future__ import annotations

import sqlite3
from pathlib import Path

DATABASE = "rows.sqlite"
FILES = "files"


def make_table(directory: Path, *, name: str = "rows", rows: int = 400, padding: int = 0) -> None:
    """Create a table for exports; each row has this many bytes besides its number."""
    with sqlite3.connect(directory / DATABASE) as database:
        database.execute(f"CREATE TABLE {name} (number INTEGER, name TEXT)")
        database.executemany(
            f"INSERT INTO {name} VALUES (?, ?)",
            [(number, f"row {number}" + "x" * padding) for number in range(rows)],
        )
