"""The needs of a group of a million children, computed from what `python -m benchmarks groups` has measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks.tables import markdown

# Rows that docs/scale.md computes with.
REDIS_COST: Final = "the same: CPU in Redis for each child, over plain Celery's"
MEMORY: Final = "memory of the group in Redis for each child, before any has failed"


def million_children(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the needs of a group of a million children, each with its arithmetic, from the measured costs."""
    cost = {row["what"]: float(row["measured"]) for row in rows}
    memory, server = cost[MEMORY], cost[REDIS_COST]
    worker = next(value for what, value in cost.items() if "CPU in the worker" in what)
    events, size = (
        next(value for what, value in cost.items() if words in what) for words in ("events that a page", "bytes")
    )
    lines = [
        ("memory in Redis", f"1,000,000 × {memory:.0f} bytes", f"{memory:.0f} MB"),
        (
            "most children a second through one Redis, at 70 % of a core",
            f"0.7 s / {server:.0f} µs",
            f"{0.7e6 / server:,.0f}",
        ),
        ("all of them, at that rate", f"1,000,000 × {server:.0f} µs / 0.7", f"{server / 0.7 / 60:.1f} min"),
        ("the workers' CPU for it", f"1,000,000 × {worker:.0f} µs", f"{worker / 60:.1f} core minutes"),
        ("a page that shows it", f"{events:.0f} events a second, however many end", f"{size:.1f} KB/s"),
    ]
    return markdown(["what", "arithmetic", "result"], lines)
