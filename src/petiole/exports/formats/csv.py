"""CSV from Arrow batches, with cells that no spreadsheet interprets as a formula."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import pyarrow as pa
from pyarrow import compute, csv

from petiole.exports.sources.columns import EXACT, MIXED, to_array

# OWASP's list (= + - @ tab CR LF), its full-width forms, and what a spreadsheet or an import dialogue may strip
# first: blanks of any script, control characters, the byte order mark and zero-width characters.
# Source: https://owasp.org/www-community/attacks/CSV_Injection
_STRIPPED: Final = r"[\x00-\x20\x{007F}-\x{009F}\pZ\x{200B}-\x{200D}\x{2060}\x{FEFF}]"
_FORMULA: Final = rf"^(?:[\t\r\n]|{_STRIPPED}*[=+\-@\x{{FF1D}}\x{{FF0B}}\x{{FF0D}}\x{{FF20}}])"

# From this average size on, rows are written in pieces.
_LARGE_ROW: Final = 256 * 1024
_PIECE: Final = 1024 * 1024


class Sink(Protocol):
    """Takes a writer's bytes."""

    def write(self, data: bytes | pa.Buffer, /) -> object:
        """Take all of `data`, or raise `OSError`."""
        ...


class Writer(Protocol):
    """A file format. Made with a sink and the column names; takes batches in order; closed once.

    The type of a column may change from batch to batch (see `petiole.exports.sources.columns`), its name and place may not.
    What isn't closed isn't a whole file.
    """

    media_type: str

    def write(self, batch: pa.RecordBatch) -> None:
        """Write the rows of one batch to the sink."""
        ...

    def close(self) -> None:
        """Write the end of the file to the sink, which stays open."""
        ...


class CsvWriter:
    """CSV after RFC 4180 in UTF-8, lines ended by LF, a header line even where there are no rows.

    Text is always in quotes and numbers never are, so that a missing value (nothing) and an empty text (`""`) stay
    apart. Text that a spreadsheet could run as a formula gets an apostrophe in front; numbers are never touched.
    """

    media_type = "text/csv"

    def __init__(self, sink: Sink, columns: Sequence[str]) -> None:
        self._sink = sink
        names = guard(to_array(columns, "text")).to_pylist()
        header = pa.RecordBatch.from_arrays([to_array((), "text") for _ in names], names=names)
        self._put(header, csv.WriteOptions(include_header=True))

    def write(self, batch: pa.RecordBatch) -> None:
        """Write the rows of one batch to the sink.

        Raises:
            OSError: the sink can't take them.
        """
        if batch.nbytes > _LARGE_ROW * batch.num_rows:
            self._write_pieces(batch)
            return
        if any(column.type in (EXACT, MIXED) for column in batch.columns):
            self._sink.write(_lines(batch))
            return
        guarded = pa.RecordBatch.from_arrays([_guarded(column) for column in batch.columns], names=batch.schema.names)
        self._put(guarded, csv.WriteOptions(include_header=False, batch_size=max(batch.num_rows, 1)))

    def close(self) -> None:
        """End the file; CSV has nothing at its end."""

    def _write_pieces(self, batch: pa.RecordBatch) -> None:
        """Write large rows without a copy of them."""
        for number in range(batch.num_rows):
            row = batch.slice(number, 1)
            for place, column in enumerate(row.columns):
                if place:
                    self._sink.write(b",")
                text = column.flatten()[2] if column.type == MIXED else column
                if text.type == pa.large_string() and text.null_count == 0:
                    self._write_text(text)
                else:
                    self._sink.write((_cell_texts(column)[0].as_py() or "").encode())
            self._sink.write(b"\n")

    def _write_text(self, text: pa.Array) -> None:
        self._sink.write(b"\"'" if _is_formula(text) else b'"')
        _, offsets, data = text.buffers()
        start, end = memoryview(offsets).cast("q")[text.offset : text.offset + 2]
        content = memoryview(data)
        for piece in range(start, end, _PIECE):
            self._sink.write(bytes(content[piece : min(piece + _PIECE, end)]).replace(b'"', b'""'))
        self._sink.write(b'"')

    def _put(self, rows: pa.RecordBatch, options: csv.WriteOptions) -> None:
        buffer = pa.BufferOutputStream()
        csv.write_csv(rows, buffer, options)
        self._sink.write(buffer.getvalue())


def guard(texts: pa.Array) -> pa.Array:
    """Return the texts, with a leading apostrophe on those that could be formulas."""
    if _is_formula(texts):
        return compute.replace_substring_regex(texts, _FORMULA, "'\\0")
    return texts


def _is_formula(texts: pa.Array) -> bool:
    """Say whether any of the texts could be a formula."""
    return compute.any(compute.match_substring_regex(texts, _FORMULA)).as_py() is True


def _guarded(column: pa.Array) -> pa.Array:
    return guard(column) if column.type == pa.large_string() else column


def _lines(batch: pa.RecordBatch) -> pa.Buffer:
    """Return the rows as the same CSV. Not by Arrow's writer: it quotes every text, and here numbers are among the texts."""
    cells = [_cell_texts(column) for column in batch.columns]
    cells[-1] = _joined(cells[-1], _text("\n"))
    lines = compute.binary_join_element_wise(*cells, _text(","), null_handling="replace", null_replacement="")
    # One after the other, the lines are the file.
    _, offsets, data = lines.buffers()
    ends = memoryview(offsets).cast("q")
    return data.slice(ends[lines.offset], ends[lines.offset + len(lines)] - ends[lines.offset])


def _cell_texts(column: pa.Array) -> pa.Array:
    """Return a column's cells as they are in the file; a missing value is null."""
    if column.type == EXACT:
        return column.flatten()[0]
    if column.type == MIXED:
        integers, reals, texts = column.flatten()
        return compute.coalesce(integers.cast(pa.large_string()), reals.cast(pa.large_string()), _quoted(texts))
    if column.type == pa.large_string():
        return _quoted(column)
    return column.cast(pa.large_string())


def _quoted(texts: pa.Array) -> pa.Array:
    doubled = compute.replace_substring(guard(texts), '"', '""')
    return compute.binary_join_element_wise(_text('"'), doubled, _text('"'), _text(""))


def _joined(cells: pa.Array, end: pa.Scalar) -> pa.Array:
    return compute.binary_join_element_wise(cells, end, _text(""), null_handling="replace", null_replacement="")


def _text(text: str) -> pa.Scalar:
    return to_array([text], "text")[0]
