"""Fills the tables of docs/scale.md and docs/performance.md from the latest results: `python -m benchmarks.page`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks import requirements, scale, workers
from benchmarks.arithmetic import Limits, costs_in
from benchmarks.million import million_children
from benchmarks.report import RESULTS, Row, table

DOCS: Final = Path(__file__).parents[1] / "docs"
PAGES: Final = ("scale.md", "performance.md")
# The benchmarks of docs/performance.md, in its order.
LIVE: Final = ("live", "load", "growth", "steps", "worker", "recovery", "joining", "start", "text", "groups")

_BLOCK: Final = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def tables() -> dict[str, str]:
    """Return every table by the name of its place in the document."""
    measured, hundred = result("scale"), result("workers")
    costs = costs_in(measured)
    return {
        **requirements.tables(costs, Limits()),
        **scale.tables(measured),
        **workers.tables(hundred, costs),
        "goals": table(compared()),
        "children": million_children(result("groups")["rows"]),
    }


def compared() -> list[Row]:
    """Return the rows of all comparisons, by the numbers of their goals."""
    rows = [row for name in LIVE for row in result(name)["rows"]]
    kept = [Row(**{name: value for name, value in row.items() if name != "verdict"}) for row in rows]
    return sorted(kept, key=lambda row: (row.goal[0], int(row.goal[1:].strip("ab"))))


def fill(document: str, found: Mapping[str, str]) -> str:
    """Return the document with each table in its place.

    Raises:
        KeyError: the document has a place for an unknown table.
    """
    return _BLOCK.sub(lambda match: f"{match[1]}{found[match[2]]}\n{match[3]}", document)


def result(name: str) -> dict[str, Any]:
    """Return a benchmark's latest results."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


if __name__ == "__main__":
    found = tables()
    for page in PAGES:
        (DOCS / page).write_text(fill((DOCS / page).read_text(), found))
