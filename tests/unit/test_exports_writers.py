from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petiole.exports.catalog import Column
from petiole.exports.formats.csv import CsvWriter
from petiole.exports.sources.columns import to_batch

PLAIN = st.text(st.characters(exclude_categories=["Cs"]))


def write(columns: list[Column], *batches: list[tuple]) -> str:
    sink = io.BytesIO()
    writer = CsvWriter(sink, [column.name for column in columns])
    for rows in batches:
        writer.write(to_batch(columns, rows))
    writer.close()
    return sink.getvalue().decode("utf-8")


def parse(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


TEXT = [Column("x", "text")]


def test_a_file_has_a_header_and_the_rows_in_order():
    columns = [Column("n", "integer"), Column("r", "real"), Column("x", "text")]
    text = write(columns, [(1, 0.1, "a"), (-2, 2.0, "b")], [(3, -1e-7, "c")])
    assert text == '"n","r","x"\n1,0.1,"a"\n-2,2,"b"\n3,-1e-7,"c"\n'


def test_a_file_without_rows_has_a_header():
    assert write([Column("n", "integer"), Column("x", "text")]) == '"n","x"\n'


def test_a_missing_value_is_nothing_and_an_empty_text_is_quoted():
    columns = [Column("n", "integer"), Column("r", "real"), Column("x", "text"), Column("y", "text")]
    assert write(columns, [(None, None, None, "")]) == '"n","r","x","y"\n,,,""\n'


@pytest.mark.parametrize(
    "hostile",
    [
        'with "quotes"',
        '"',
        '""',
        "comma, semicolon; tab\there",
        "line\nbreak",
        "windows\r\nbreak",
        "nul\0inside",
        "emoji 😀 é 日本 \u200f",
        "x" * 100_000,
        "back\\slash",
        "'quoted'",
    ],
)
def test_hostile_text_comes_back_as_it_was(hostile):
    assert parse(write([Column("x", "text"), Column("y", "text")], [(hostile, "end")])) == [
        ["x", "y"],
        [hostile, "end"],
    ]


@pytest.mark.parametrize(
    "formula",
    [
        "=1+1",
        '=HYPERLINK("http://evil","click")',
        "+1",
        "-1",
        "-2+3+cmd|' /C calc'!A0",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "\tharmless",
        "\rharmless",
        "  =1",
        " \t @x",
        "\u00a0=1",
        "\u3000=1",
        "\ufeff=1",
        "\u200b=1",
        "\0=1",
        "\x1f=1",
        "\x1c\x0b=1",
        "\x7f=1",
        "\x85=1",
        "\uff1d1+1",
        "\uff20SUM",
        "=",
    ],
)
def test_text_that_a_spreadsheet_could_run_gets_an_apostrophe(formula):
    assert parse(write(TEXT, [(formula,), ("calm",)])) == [["x"], ["'" + formula], ["calm"]]


@pytest.mark.parametrize("calm", ["a=b", "1-2", "a@b.c", "N14228", "", " a", "'=1", "2013-01-01", "é+", "\\=1", "_=1"])
def test_text_that_is_no_formula_is_not_touched(calm):
    assert parse(write(TEXT, [(calm,)])) == [["x"], [calm]]


def test_negative_numbers_are_never_touched():
    columns = [Column("n", "integer"), Column("r", "real")]
    assert parse(write(columns, [(-5, -1.5), (-(2**63), -1e300)]))[1:] == [
        ["-5", "-1.5"],
        ["-9223372036854775808", "-1e+300"],
    ]


def test_in_a_column_of_numbers_and_text_only_text_is_guarded():
    rows = [(-5,), ("-5",), (-2.5,), ("=1",), (b"\x01",), (None,)]
    assert parse(write([Column("n", "integer")], rows)) == [
        ["n"],
        ["-5"],
        ["'-5"],
        ["-2.5"],
        ["'=1"],
        ["X'01'"],
        [],
    ]


def test_a_column_may_hold_other_types_in_another_batch():
    text = write([Column("n", "integer"), Column("x", "text")], [(1, "a")], [("two", 2)], [(3, "c")])
    assert parse(text) == [["n", "x"], ["1", "a"], ["two", "2"], ["3", "c"]]


def test_numbers_are_never_in_quotes_and_texts_always_are_whatever_the_batch_holds():
    columns = [Column("n", "integer"), Column("r", "real"), Column("x", "text")]
    batches = [
        [(1, 2.5, "a")],
        [(2, 10**15, "b"), ("three", None, "c")],
        [(4, 0.5, 5), (b"\x06", "x", "")],
        [(7, 8, "d")],
    ]
    assert write(columns, *batches).split("\n") == [
        '"n","r","x"',
        '1,2.5,"a"',
        '2,1000000000000000,"b"',
        '"three",,"c"',
        "4,0.5,5",
        '"X\'06\'","x",""',
        '7,8,"d"',
        "",
    ]


def test_large_rows_are_written_like_small_ones(monkeypatch):
    columns = [Column("n", "integer"), Column("x", "text"), Column("y", "text")]
    texts = ['say "x"' * 50, '"' * 301, "=1" * 200, "é" * 200, "", None, 7, b"\x00" * 300, "a"]
    rows = [(number, text, other) for number, text in enumerate(texts) for other in texts]
    small = [write(columns, *batches) for batches in ([rows], [[row] for row in rows])]
    monkeypatch.setattr("petiole.exports.formats.csv._LARGE_ROW", 0)
    monkeypatch.setattr("petiole.exports.formats.csv._PIECE", 7)
    monkeypatch.setattr("petiole.exports.sources.columns._PIECE", 7)
    large = [write(columns, *batches) for batches in ([rows], [[row] for row in rows])]
    assert small == large
    assert small[0] == small[1]


def test_names_of_columns_are_guarded_and_quoted():
    columns = [Column("=1+1", "integer"), Column('say "x"', "integer"), Column("a\nb", "integer"), Column("-", "text")]
    assert parse(write(columns, [(1, 2, 3, "x")]))[0] == ["'=1+1", 'say "x"', "a\nb", "'-"]


@given(st.lists(st.tuples(PLAIN, PLAIN), min_size=1, max_size=20))
def test_any_text_comes_back_with_an_apostrophe_at_most(rows):
    parsed = parse(write([Column("x", "text"), Column("y", "text")], rows))[1:]
    assert len(parsed) == len(rows)
    for found, given_row in zip(parsed, rows, strict=True):
        for cell, text in zip(found, given_row, strict=True):
            assert cell in (text, "'" + text)
            assert not cell.lstrip().startswith(("=", "+", "-", "@"))


@given(
    st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)), min_size=1)
)
def test_any_number_comes_back_exactly(rows):
    parsed = parse(write([Column("n", "integer"), Column("r", "real")], rows))[1:]
    assert [(int(n), float(r)) for n, r in parsed] == rows
