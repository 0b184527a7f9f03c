"""Values as Arrow columns, even where a dynamically typed database mixes types.

Where every value of a batch fits the declared kind, the column is int64, float64 or large_string. Otherwise it is
`MIXED`: a struct that keeps each value as what it is, so that a writer still knows a number from a text. A blob becomes
text in SQLite's own notation, `X'53514C'`, and so do bytes that were stored as a text and aren't one. `EXACT` holds decimal
numbers with all their digits.

The columns are built from buffers and not with `pyarrow.array` or `pyarrow.scalar`, which import pandas wherever that is
installed: more than a second and some 60 MB in every worker process, for nothing that is needed here.
"""

from __future__ import annotations

from array import array
from base64 import b16encode
from collections.abc import Sequence
from itertools import accumulate
from types import NoneType
from typing import Any, Final

import pyarrow as pa

from petiole.exports.catalog import Column, Kind

MIXED: Final = pa.struct([("integer", pa.int64()), ("real", pa.float64()), ("text", pa.large_string())])
# A number as its digits: float64 can't hold all digits of a decimal, and Arrow's decimals have one scale for all rows.
EXACT: Final = pa.struct([("decimal", pa.large_string())])

# Up to here float64 represents every integer, and Arrow writes it with all its digits instead of an exponent.
_EXACT_INTEGER: Final = 10**15 - 1
_PIECE: Final = 1024 * 1024
# Each cell is an object or some bytes of a column, also where it is empty.
_MOST_CELLS: Final = 200_000


def most_rows(columns: int, rows: int) -> int:
    """Return how many rows a batch of so many columns may have, at most `rows`."""
    return max(1, min(rows, _MOST_CELLS // columns))


def to_batch(columns: Sequence[Column], rows: Sequence[tuple[Any, ...]]) -> pa.RecordBatch:
    """Return rows, at least one, as a record batch with one column for each of `columns`."""
    arrays = [to_array(values, column.kind) for column, values in zip(columns, zip(*rows, strict=True), strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])


def to_array(values: Sequence[Any], kind: Kind) -> pa.Array:
    """Return one column of values as SQLite gives them: `None`, int, float, str or bytes.

    In a real column an integer is the real of the same value, as long as there is one.
    """
    types = set(map(type, values))
    nulls = NoneType in types
    types.discard(NoneType)
    if kind == "integer" and types <= {int}:
        return _integers(values, nulls)
    if kind == "real" and types <= {int, float} and (int not in types or _are_exact(values)):
        return _reals(values, nulls)
    if kind == "text" and types <= {str}:
        return _texts(values, nulls)
    return _mixed(values)


def to_exact(digits: pa.Array) -> pa.Array:
    """Return numbers that are given as their digits (large_string) as a column of type `EXACT`."""
    return pa.StructArray.from_arrays([digits], fields=list(EXACT))


def _integers(values: Sequence[Any], nulls: bool) -> pa.Array:
    return _build(pa.int64(), values, nulls, array("q", _filled(values, 0) if nulls else values))


def _reals(values: Sequence[Any], nulls: bool) -> pa.Array:
    return _build(pa.float64(), values, nulls, array("d", _filled(values, 0.0) if nulls else values))


def _texts(values: Sequence[Any], nulls: bool) -> pa.Array:
    texts = _filled(values, "") if nulls else values
    joined = "".join(texts)
    if joined.isascii():
        data, sizes = joined.encode(), map(len, texts)
    else:
        del joined
        parts = [text.encode() for text in texts]
        data, sizes = b"".join(parts), map(len, parts)
    return _build(pa.large_string(), values, nulls, array("q", accumulate(sizes, initial=0)), data)


def _mixed(values: Sequence[Any]) -> pa.Array:
    children = [
        _integers(_only(values, int), True),
        _reals(_only(values, float), True),
        _texts_and_blobs(_only(values, str, bytes)),
    ]
    return pa.StructArray.from_arrays(children, fields=list(MIXED))


def _texts_and_blobs(values: Sequence[Any]) -> pa.Array:
    parts = [_literal(value) if type(value) is bytes else (value or "").encode() for value in values]
    offsets = array("q", accumulate(map(len, parts), initial=0))
    return _build(pa.large_string(), values, True, offsets, parts[0] if len(parts) == 1 else b"".join(parts))


def _literal(blob: bytes) -> bytearray:
    # In place: a large blob is there once, and its text once.
    text = bytearray(2 * len(blob) + 3)
    text[:2] = b"X'"
    for start in range(0, len(blob), _PIECE):
        piece = blob[start : start + _PIECE]
        text[2 + 2 * start : 2 + 2 * (start + len(piece))] = b16encode(piece)
    text[-1:] = b"'"
    return text


def _build(kind: pa.DataType, values: Sequence[Any], nulls: bool, *data: Any) -> pa.Array:
    valid = _bitmap(bytes([value is not None for value in values])) if nulls else None
    return pa.Array.from_buffers(kind, len(values), [valid, *map(pa.py_buffer, data)])


def _bitmap(flags: bytes) -> pa.Buffer:
    wide = pa.Array.from_buffers(pa.uint8(), len(flags), [None, pa.py_buffer(flags)])
    return wide.cast(pa.bool_()).buffers()[1]


def _filled(values: Sequence[Any], filling: Any) -> list[Any]:
    return [filling if value is None else value for value in values]


def _only(values: Sequence[Any], *types: type) -> list[Any]:
    return [value if type(value) in types else None for value in values]


def _are_exact(values: Sequence[Any]) -> bool:
    return all(-_EXACT_INTEGER <= value <= _EXACT_INTEGER for value in values if type(value) is int)
