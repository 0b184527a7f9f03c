"""Reads the CSV that PostgreSQL's `COPY` sends, a message for each row, as batches."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias

import pyarrow as pa
from pyarrow import compute, csv

from petiole.exports.catalog import Column
from petiole.exports.sources.columns import most_rows, to_array, to_exact
from petiole.exports.sources.postgres_types import type_of

Line: TypeAlias = bytes | bytearray | memoryview

# What the rows of a batch may take, but for one that is larger alone.
_MOST_BYTES: Final = 4 * 1024 * 1024
_PIECE: Final = 1024 * 1024
_ARROW: Final = {"integer": pa.int64(), "real": pa.float64(), "text": pa.large_string()}
_QUOTES: Final = re.compile(rb'"+')
_END: Final = re.compile(rb"[,\n]")


class TextCheck:
    """Makes sure that texts are UTF-8, where the server doesn't: the bytes of one that isn't are kept, like a blob's.

    `undecoded`: how many weren't.
    """

    def __init__(self, *, by_server: bool) -> None:
        self.by_server = by_server
        self.undecoded = 0

    def checked(self, texts: pa.Array) -> pa.Array:
        """Return a column of texts as it is, or as `MIXED` if there are bytes among them."""
        if self.by_server:
            return texts
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid:
            return to_array([self._decoded(text) for text in texts.view(pa.large_binary()).to_pylist()], "text")
        return texts

    def _decoded(self, text: bytes | None) -> str | bytes | None:
        try:
            return None if text is None else text.decode()
        except UnicodeDecodeError:
            self.undecoded += 1
            return text


def to_batches(
    columns: Sequence[Column], lines: Iterable[Line], *, rows: int, check: TextCheck
) -> Iterator[pa.RecordBatch]:
    """Yield up to `rows` rows at a time, fewer where they are large, and a very large one alone."""
    most = most_rows(len(columns), rows)
    chunk: list[Line] = []
    size = 0
    for line in lines:
        if chunk and (len(chunk) >= most or size + len(line) > _MOST_BYTES):
            yield _batch(columns, chunk, check)
            size = 0
        chunk.append(line)
        size += len(line)
        # A large one isn't kept while the next one is read.
        del line
    if chunk:
        yield _batch(columns, chunk, check)


def _batch(columns: Sequence[Column], chunk: list[Line], check: TextCheck) -> pa.RecordBatch:
    """Return the chunk as a batch, and empty it."""
    joined: Line = chunk.pop() if len(chunk) == 1 else b"".join(chunk)
    chunk.clear()
    names = [column.name for column in columns]
    if len(joined) > _MOST_BYTES:
        arrays = list(_large_row(columns, joined))
    else:
        arrays = [column.combine_chunks() for column in _parse(columns, joined, check).columns]
    for place, (column, array) in enumerate(zip(columns, arrays, strict=True)):
        if type_of(column.declared).decimal:
            arrays[place] = to_exact(_shorten(array))
        elif column.kind == "text":
            arrays[place] = check.checked(array)
    return pa.RecordBatch.from_arrays(arrays, names=names)


def _parse(columns: Sequence[Column], lines: Line, check: TextCheck) -> pa.Table:
    types = [pa.large_string() if type_of(column.declared).decimal else _ARROW[column.kind] for column in columns]
    names = [f"c{number}" for number in range(len(columns))]
    return csv.read_csv(
        pa.BufferReader(lines),
        read_options=csv.ReadOptions(column_names=names, use_threads=False, block_size=len(lines) + 1),
        # A row of one empty cell is an empty line.
        parse_options=csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        convert_options=csv.ConvertOptions(
            check_utf8=check.by_server,
            column_types=dict(zip(names, types, strict=True)),
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _large_row(columns: Sequence[Column], line: Line) -> Iterator[pa.Array]:
    """Yield the columns of a single row without a copy of its texts, where Arrow would make two."""
    content = memoryview(line)
    place = 0
    for column in columns:
        if content[place] == ord('"'):
            place += 1
            end = _closing_quote(content, place)
            yield _text(content[place:end])
            place = end + 2
        else:
            found = _END.search(content, place)
            assert found is not None, "a row of COPY ends with a line feed"
            yield _small(column, bytes(content[place : found.start()]).decode())
            place = found.end()


def _closing_quote(content: memoryview, place: int) -> int:
    while True:
        found = _QUOTES.search(content, place)
        assert found is not None, "COPY closes each quote"
        # Within a text they are doubled.
        if (found.end() - found.start()) % 2:
            return found.end() - 1
        place = found.end()


def _text(content: memoryview) -> pa.Array:
    if _QUOTES.search(content):
        content = memoryview(_unquoted(content))
    offsets = pa.py_buffer(memoryview(b"".join(length.to_bytes(8, "little") for length in (0, len(content)))))
    return pa.Array.from_buffers(pa.large_string(), 1, [None, offsets, pa.py_buffer(content)])


def _unquoted(content: memoryview) -> bytearray:
    text = bytearray()
    place = 0
    while place < len(content):
        end = min(place + _PIECE, len(content))
        piece = bytes(content[place:end])
        if (len(piece) - len(piece.rstrip(b'"'))) % 2:
            # Not between two that stand for one.
            end += 1
            piece = bytes(content[place:end])
        text += piece.replace(b'""', b'"')
        place = end
    return text


def _small(column: Column, cell: str) -> pa.Array:
    if type_of(column.declared).decimal:
        return to_array([cell or None], "text")
    value: Any = None
    if cell:
        value = int(cell) if column.kind == "integer" else float(cell)
    return to_array([value], column.kind)


def _shorten(digits: pa.Array) -> pa.Array:
    # NaN and the infinities as Arrow writes those of float64.
    return compute.replace_substring(compute.utf8_lower(digits), "infinity", "inf")
