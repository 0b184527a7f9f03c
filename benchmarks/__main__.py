"""Run benchmarks by name: `python -m benchmarks load growth`, or all: `python -m benchmarks all`."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Final

# In this order; the first line of each module says what it measures.
NAMES: Final = (
    "live",
    "load",
    "growth",
    "steps",
    "worker",
    "start",
    "joining",
    "recovery",
    "text",
    "groups",
    "scale",
    "workers",
)

if __name__ == "__main__":
    chosen = NAMES if sys.argv[1:] == ["all"] else sys.argv[1:]
    if not chosen or not set(chosen) <= set(NAMES):
        sys.exit(f"Usage: python -m benchmarks all | NAME…. There are: {', '.join(NAMES)}.")
    for name in chosen:
        module = import_module(f"benchmarks.{name}")
        print(f"\n{name}: {(module.__doc__ or '').splitlines()[0]}", flush=True)
        module.main()
