"""`docs/protocol.md` is total: every state with every event, and each cell names tests that exist."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from petiole.protocol import states

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")

READER = {"new", "following", "reading", "overflowed"}
RELAY = {"unfollowed", "following", "healing", "lingering"}
TASK = {*states.ACTIVE, *states.TERMINAL}

_KEY = re.compile(r"\b[FRT][0-9]+\b")
_LISTED = re.compile(r"^\* \*\*([FRT][0-9]+)\*\* (.+)$", re.MULTILINE)
_IMPOSSIBLE = re.compile(r"– \S+ \S+")
_PYTHON_TEST = re.compile(r"^\s*def (test_\w+)", re.MULTILINE)
_BROWSER_TEST = re.compile(r"""\btest\(\s*(["'`])(.+?)\1,""")


@dataclass(frozen=True)
class Table:
    columns: tuple[str, ...]
    rows: dict[str, tuple[str, ...]]


def cells(line: str) -> list[str]:
    return [cell.strip().replace("`", "") for cell in line.strip().strip("|").split("|")]


def tables(page: str) -> list[Table]:
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        head, _, *body = block.splitlines()
        rows = [cells(line) for line in body]
        found.append(Table(tuple(cells(head)[1:]), {row[0]: tuple(row[1:]) for row in rows}))
        assert len(found[-1].rows) == len(rows), "a row is there twice"
    return found


def names_of_tests() -> set[str]:
    python = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "chaos").rglob("*.py")]
    names = {name for path in python for name in _PYTHON_TEST.findall(path.read_text(encoding="utf-8"))}
    for path in (ROOT / "browser" / "test").rglob("*.test.ts"):
        names |= {title for _, title in _BROWSER_TEST.findall(path.read_text(encoding="utf-8"))}
    return names | {path.name for path in (ROOT / "protocol" / "transcripts").glob("*.json")}


def faults(page: str) -> list[str]:
    """Return the reasons why the page isn't total and true."""
    listed = {key: re.findall(r"`([^`]+)`", tests) for key, tests in _LISTED.findall(page)}
    existing = names_of_tests()
    found = [f"{key} names no test" for key, tests in listed.items() if not tests]
    found += [f"{key} names {test!r}" for key, tests in listed.items() for test in tests if test not in existing]
    used = set()
    for table in tables(page):
        for event, row in table.rows.items():
            if len(row) != len(table.columns):
                found.append(f"{event!r} has {len(row)} cells for {len(table.columns)} columns")
            for column, cell in zip(table.columns, row, strict=False):
                keys = _KEY.findall(cell)
                used.update(keys)
                if not keys and not _IMPOSSIBLE.fullmatch(cell):
                    found.append(f"{event!r} × {column!r} is {cell!r}")
    found += [f"{key} isn't listed" for key in used - listed.keys()]
    found += [f"{key} isn't used" for key in listed.keys() - used]
    return found


def test_every_cell_says_what_happens_and_names_tests_that_exist():
    assert faults(PAGE) == []


def test_every_state_has_its_column_or_row():
    reader, relay, said, task = tables(PAGE)
    assert set(reader.columns) == READER
    assert set(relay.columns) == RELAY
    assert set(said.columns) == TASK
    assert {*said.rows} == {*TASK, "a log line, a counter"}
    assert {*task.rows} == TASK


@pytest.mark.parametrize("current", sorted(TASK))
def test_the_table_of_what_a_run_says_is_that_of_the_code(current):
    said = tables(PAGE)[2]
    column = said.columns.index(current)
    for name in TASK:
        expected = "missing" if current == "queued" else "kept" if states.may_follow(name, current) else "closed"
        assert said.rows[name][column].split()[0] == expected


@pytest.mark.parametrize(
    ("broken", "by", "fault"),
    [
        ("applied, shown F4", "", "'an event that follows' × 'following' is ''"),
        ("applied, shown F4", "applied", "'an event that follows' × 'following' is 'applied'"),
        ("applied, shown F4", "applied F99", "F99 isn't listed"),
        ("`in-order.json`, `unknown", "`no-such.json`, `unknown", "F4 names 'no-such.json'"),
        ("`test_an_old_run_is_fenced", "`test_an_old_run_is_not_fenced", "T6 names"),
        ("| – no lease T7 |", "| – |", "'succeeded' × 'verdict over an ended lease' is '–'"),
    ],
)
def test_a_page_that_is_not_total_is_found(broken, by, fault):
    assert broken in PAGE
    assert any(found.startswith(fault) for found in faults(PAGE.replace(broken, by)))
