"""Run a benchmark by name: `python -m benchmarks latency`."""

from __future__ import annotations

import sys
from importlib import import_module

NAMES = ("latency",)

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in NAMES:
        sys.exit(f"Usage: python -m benchmarks NAME. There are: {', '.join(NAMES)}.")
    import_module(f"benchmarks.{sys.argv[1]}").main()
