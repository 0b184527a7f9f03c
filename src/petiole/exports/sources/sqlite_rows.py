"""Reads the rows of a SQLite query in chunks that are bounded by bytes, fast as long as values are small."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Final

from petiole.exports.sources.columns import most_rows

Row = tuple[Any, ...]

# What the values of a chunk may take where SQLite itself bounds each of them, and where they are measured.
_MOST_BYTES: Final = 32 * 1024 * 1024
_MOST_MEASURED: Final = 4 * 1024 * 1024
_SMALLEST_LIMIT: Final = 64


class RowReader:
    """Reads a query's rows, at most `rows` in a chunk, and a large one alone. For a connection in a read transaction.

    `undecoded`: how many texts of the chunks so far weren't valid UTF-8; they are given as bytes.

    First SQLite refuses values beyond a limit, so that nothing has to be measured, and Python decodes text in C. When a value
    is too long for that, or isn't UTF-8, the query runs again, past the rows that were read, and with the slower way for the
    rest. The transaction and the order see to it that they are the same rows.
    """

    def __init__(
        self, connection: sqlite3.Connection, query: str, values: Sequence[Any], *, columns: int, rows: int
    ) -> None:
        self._connection = connection
        self._query = query
        self._values = values
        self._rows = most_rows(columns, rows)
        self._limit = max(_SMALLEST_LIMIT, _MOST_BYTES // (self._rows * columns))
        self._is_measured = self._is_decoded_here = False
        self.undecoded = 0

    def chunks(self) -> Generator[list[Row]]:
        """Yield the rows.

        Raises:
            sqlite3.Error: the database can't be read.
        """
        read = 0
        largest = self._connection.getlimit(sqlite3.SQLITE_LIMIT_LENGTH)
        try:
            while True:
                self._connection.setlimit(
                    sqlite3.SQLITE_LIMIT_LENGTH, largest if self._is_measured else min(self._limit, largest)
                )
                self._connection.text_factory = self._decode if self._is_decoded_here else str
                try:
                    for chunk in self._read(skip=read):
                        read += len(chunk)
                        yield chunk
                    return
                except sqlite3.DataError as error:
                    if self._is_measured or getattr(error, "sqlite_errorname", "") != "SQLITE_TOOBIG":
                        raise
                    self._is_measured = True
                except sqlite3.OperationalError as error:
                    # The driver's own error has no code of SQLite.
                    if self._is_decoded_here or "UTF-8" not in str(error) or hasattr(error, "sqlite_errorname"):
                        raise
                    self._is_decoded_here = True
        finally:
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, largest)

    def _read(self, *, skip: int) -> Iterator[list[Row]]:
        # Skipped by SQLite, which makes no Python objects of them.
        query = f"{self._query} LIMIT -1 OFFSET {skip}" if skip else self._query
        cursor = self._connection.execute(query, self._values)
        try:
            if self._is_measured:
                yield from self._measured(cursor)
            else:
                while chunk := cursor.fetchmany(self._rows):
                    yield chunk
        finally:
            cursor.close()

    def _measured(self, cursor: sqlite3.Cursor) -> Iterator[list[Row]]:
        chunk: list[Row] = []
        total = 0
        while row := cursor.fetchone():
            size = sum(map(sys.getsizeof, row))
            if chunk and (total + size > _MOST_MEASURED or len(chunk) == self._rows):
                yield chunk
                chunk, total = [], 0
            chunk.append(row)
            total += size
            # Not kept while the next one is read.
            del row
        if chunk:
            yield chunk

    def _decode(self, text: bytes) -> str | bytes:
        try:
            return text.decode()
        except UnicodeDecodeError:
            self.undecoded += 1
            return text
