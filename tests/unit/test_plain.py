"""`examples/console/plain.py`: what a program writes for a terminal is plain text, however it is cut."""

from __future__ import annotations

import runpy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.system import ROOT

Plain = runpy.run_path(str(ROOT / "examples" / "console" / "plain.py"))["Plain"]


def plain_of(*pieces: bytes) -> str:
    stream = Plain()
    return "".join([*map(stream.feed, pieces), stream.feed(b"", final=True)])


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("\x1b[1;32m==>\x1b[0m Done ✓\n", "==> Done ✓\n"),
        ("\x1b[38;5;196mred\x1b[m \x1b[?25l\x1b[2K\x1b[1A", "red "),
        ("\x1b]0;a title\x07a", "a"),
        ("\x1b]8;;https://example.com\x1b\\a link\x1b]8;;\x1b\\!", "a link!"),
        ("\x1b(Ba\x1b7b\x1b=c", "abc"),
        ("10 %\r20 %\r\nend\r", "10 %\n20 %\nend\n"),
        ("b\x08bell\x07\0", "bbell"),
        ("[31m isn't a colour, tabs\tstay", "[31m isn't a colour, tabs\tstay"),
        ("naïve 中文 👩‍👩‍👧", "naïve 中文 👩‍👩‍👧"),
    ],
)
def test_escape_sequences_are_removed_wherever_the_stream_is_cut(written: str, plain: str) -> None:
    data = written.encode()
    assert plain_of(data) == plain
    assert plain_of(*(data[at : at + 1] for at in range(len(data)))) == plain
    for at in range(len(data)):
        assert plain_of(data[:at], data[at:]) == plain


def test_a_character_that_is_cut_off_and_bytes_that_are_no_text_become_the_replacement_character() -> None:
    assert plain_of(b"a\xff", "é".encode()[:1]) == "a\ufffd\ufffd"


def test_a_sequence_that_never_ends_does_not_hold_back_the_output() -> None:
    stream = Plain()
    assert stream.feed(b"\x1b]0;" + b"x" * 100) == ""
    assert "y" * 5000 in stream.feed(b"y" * 5000)


@given(st.lists(st.text(alphabet="\x1b[]0;31m\x07\\\r\na(é", max_size=6).map(str.encode), max_size=6))
def test_the_pieces_make_no_difference(pieces: list[bytes]) -> None:
    assert plain_of(*pieces) == plain_of(b"".join(pieces))
