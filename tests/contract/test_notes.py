"""Notes: small texts beside the feeds, written only if the writer knows the present text."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from petiole.journal import Journal
from tests.contract.backends import LONG, SHORT, Backend, MemoryBackend
from tests.support.waiting import wait_until

NAME = "note of ann, with spaces: ü"


def write(journal: Journal, text: str, instead_of: str = "", lasts: float = LONG) -> str:
    return journal.note(NAME, text, instead_of=instead_of, lasts=lasts)


def test_a_note_is_written_where_there_is_none(journal: Journal) -> None:
    assert journal.notes([NAME]) == {}
    assert write(journal, "one") == ""
    assert journal.notes([NAME, "another"]) == {NAME: "one"}
    assert journal.notes([]) == {}


def test_a_note_that_is_there_already_stays_and_is_returned(journal: Journal) -> None:
    write(journal, "one")
    assert write(journal, "two") == "one"
    assert write(journal, "two", "zero") == "one"
    assert journal.notes([NAME]) == {NAME: "one"}


def test_a_note_is_replaced_and_taken_away_by_who_knows_it(journal: Journal) -> None:
    write(journal, "one")
    assert write(journal, "two ü", "one") == "one"
    assert write(journal, "", "one") == "two ü"
    assert write(journal, "", "two ü") == "two ü"
    assert journal.notes([NAME]) == {}


def test_a_note_goes_after_its_time(backend: Backend) -> None:
    journal = backend.make()
    write(journal, "one", lasts=SHORT)
    if isinstance(backend, MemoryBackend):
        backend.now += SHORT
    wait_until(lambda: journal.notes([NAME]) == {}, what="the note is gone")
    assert write(journal, "two") == ""


def test_of_many_that_write_at_once_one_does(backend: Backend) -> None:
    journal = backend.make()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: write(journal, str(number)), range(1, 33)))
    assert found.count("") == 1
    assert journal.notes([NAME]) == {NAME: str(found.index("") + 1)}
    assert set(found) == {"", str(found.index("") + 1)}
