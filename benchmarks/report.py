"""Rows of figures with their goals: printed, and written to `benchmarks/results/`."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

RESULTS: Final = Path(__file__).parent / "results"
PACKAGES: Final = ("flask-socketio", "python-socketio", "celery", "redis", "hiredis", "gevent", "gunicorn", "tqdm")


@dataclass(frozen=True)
class Row:
    """One comparison. `rival` is the other side's value; a row without a goal is only informative.

    `ratio` is measured / rival, the median of the rounds' own ratios; `limit` applies to the field that `limited` names.
    """

    goal: str
    what: str
    unit: str
    measured: float
    rival: float | None = None
    ratio: float | None = None
    limit: float | None = None
    limited: str = "ratio"
    at_least: bool = False
    note: str = ""

    @property
    def verdict(self) -> str:
        """Whether the goal is met."""
        if self.limit is None:
            return ""
        value = self.ratio if self.limited == "ratio" else self.measured
        if value is None:
            return "not measured"
        return "met" if (value >= self.limit if self.at_least else value <= self.limit) else "missed"

    @property
    def goal_text(self) -> str:
        """Return the goal in readable form."""
        if self.limit is None:
            return ""
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.limit:g} × rival" if self.limited == "ratio" else f"{sign} {self.limit:g} {self.unit}"


def compared(
    goal: str,
    what: str,
    unit: str,
    measured: Sequence[float],
    rival: Sequence[float],
    *,
    limit: float | None = None,
    at_least: bool = False,
    note: str = "",
) -> Row:
    """Return a row of two rivals that were measured in turn: medians, and the median of the rounds' ratios."""
    ratios = [mine / theirs for mine, theirs in zip(measured, rival, strict=True) if theirs]
    ratio = statistics.median(ratios) if ratios else None
    medians = statistics.median(measured), statistics.median(rival)
    return Row(goal, what, unit, *medians, ratio, limit, "ratio", at_least, note)


def alone(
    goal: str, what: str, unit: str, measured: Sequence[float], *, limit: float | None = None, note: str = ""
) -> Row:
    """Return a row with an absolute goal."""
    return Row(goal, what, unit, statistics.median(measured), limit=limit, limited="measured", note=note)


def figure(value: float) -> str:
    """Return a number in readable form: four digits, and thousands with commas."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def table(rows: Iterable[Row]) -> str:
    """Return rows as a table in Markdown."""
    lines = ["| # | measured | Petiole | rival | ratio | goal | verdict |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        rival = "" if row.rival is None else f"{figure(row.rival)} {row.unit}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        what = f"{row.what} ({row.note})" if row.note else row.what
        cells = (row.goal, what, f"{figure(row.measured)} {row.unit}", rival, ratio, row.goal_text, row.verdict)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(name: str, rows: Sequence[Row], **details: object) -> None:
    """Print the rows, and store them with the machine and the versions."""
    print(table(rows), flush=True)
    RESULTS.mkdir(exist_ok=True)
    kept = {
        "name": name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cores": os.cpu_count(), "architecture": platform.machine(), "python": platform.python_version()},
        "load_before": [round(value, 2) for value in os.getloadavg()],
        "versions": {package: version(package) for package in PACKAGES},
        "rows": [asdict(row) | {"verdict": row.verdict} for row in rows],
        **details,
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
