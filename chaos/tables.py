"""The database that a fault run exports from."""

from __future__ import annotations

import sqlite3
from pathlib import Path


def make_table(directory: Path) -> None:
    """Make the database that `export` reads."""
    with sqlite3.connect(directory / "rows.sqlite") as database:
        database.execute("CREATE TABLE rows (number INTEGER, name TEXT)")
        database.executemany("INSERT INTO rows VALUES (?, ?)", [(number, f"row {number}") for number in range(400)])
