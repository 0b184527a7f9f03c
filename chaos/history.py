"""The records of the processes of a fault run, as JSON lines: one file for each kind and process."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def record(kind: str, **entry: Any) -> None:
    """Append a line to this process's history of `kind`; it is in the file when the call returns."""
    path = Path(os.environ["CHAOS_HISTORY"]) / f"{kind}-{os.getpid()}.jsonl"
    with path.open("a") as file:
        file.write(json.dumps(entry, default=str) + "\n")


def recorded(directory: Path, kind: str) -> Iterator[dict[str, Any]]:
    """Read every process's history of `kind`. A line that a killed process left unfinished is skipped."""
    for path in sorted(directory.glob(f"{kind}-*.jsonl")):
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                yield json.loads(line)
