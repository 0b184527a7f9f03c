"""Draw the latest results: `python -m benchmarks.plots` writes docs/performance/goals.svg."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import matplotlib as mpl
from matplotlib import pyplot

from benchmarks.page import DOCS, compared
from benchmarks.report import Row

TARGET: Final = DOCS / "performance" / "goals.svg"
MET, MISSED = "#2e7d32", "#c62828"


def main() -> None:
    mpl.use("svg")
    # The same results give the same file.
    mpl.rcParams["svg.hashsalt"] = "petiole"
    TARGET.parent.mkdir(exist_ok=True)
    draw([row for row in compared() if row.limit is not None])
    pyplot.savefig(TARGET, metadata={"Date": None})


def draw(rows: Sequence[Row]) -> None:
    """Draw each result as a share of its goal: left of the line the goal is met."""
    shares = [share_of_goal(row) for row in rows]
    _, axes = pyplot.subplots(figsize=(9, 0.34 * len(rows) + 1), layout="constrained")
    labels = [f"{row.goal}  {row.what}: {row.goal_text}" for row in rows]
    bars = axes.barh(labels, shares, color=[MET if row.verdict == "met" else MISSED for row in rows], height=0.6)
    axes.bar_label(bars, [f"{share:.2f}" for share in shares], padding=3, fontsize=8)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel("measured, as a share of the goal: up to 1 it is met")
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlim(0, max(*shares, 1.0) * 1.12)
    axes.margins(y=0.01)
    axes.spines[["top", "right"]].set_visible(False)


def share_of_goal(row: Row) -> float:
    """Return the measured value as a share of the goal; for a minimum, its inverse."""
    value = row.ratio if row.limited == "ratio" else row.measured
    assert value is not None
    assert row.limit is not None
    return row.limit / value if row.at_least else value / row.limit


if __name__ == "__main__":
    main()
