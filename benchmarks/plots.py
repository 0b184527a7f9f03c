"""Draw what `benchmarks/results/` has: `python -m benchmarks.plots` writes docs/performance/*.svg."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib import pyplot

from benchmarks.report import RESULTS

TARGET: Final = Path(__file__).parents[1] / "docs" / "performance"
MET, MISSED = "#2e7d32", "#c62828"


def main() -> None:
    mpl.use("svg")
    # The same figures give the same file.
    mpl.rcParams["svg.hashsalt"] = "petiole"
    TARGET.mkdir(exist_ok=True)
    rows = [row for path in sorted(RESULTS.glob("*.json")) for row in json.loads(path.read_text())["rows"]]
    goals(sorted((row for row in rows if row["limit"] is not None), key=lambda row: int(row["goal"].strip("Pab"))))


def goals(rows: list[dict[str, Any]]) -> None:
    """Draw each figure as a share of its goal: left of the line it is met."""
    shares = [share_of_goal(row) for row in rows]
    figure, axes = pyplot.subplots(figsize=(9, 0.36 * len(rows) + 1), layout="constrained")
    colours = [MET if row["verdict"] == "met" else MISSED for row in rows]
    bars = axes.barh([f"{row['goal']}  {row['what']}" for row in rows], shares, color=colours, height=0.6)
    axes.bar_label(bars, [f"{share:.2f}" for share in shares], padding=3, fontsize=8)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.invert_yaxis()
    axes.set_xlabel("measured, as a share of the goal: up to 1 it is met")
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xlim(0, max(*shares, 1.0) * 1.12)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, "goals")


def share_of_goal(row: dict[str, Any]) -> float:
    value = row["ratio"] if row["limited"] == "ratio" else row["measured"]
    return float(row["limit"] / value if row["at_least"] else value / row["limit"])


def save(figure: Any, name: str) -> None:
    figure.savefig(TARGET / f"{name}.svg", metadata={"Date": None})
    pyplot.close(figure)


if __name__ == "__main__":
    main()
