"""Resources of processes: memory, threads and descriptors, as the kernel counts them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1024 * 1024


@dataclass(frozen=True)
class Resources:
    """Of one process, or of several together."""

    memory: int = 0
    threads: int = 0
    descriptors: int = 0

    def __str__(self) -> str:
        return f"{self.memory / MIB:.0f} MiB, {self.threads} threads, {self.descriptors} descriptors"


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    children: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += [int(child) for child in (task / "children").read_text().split()]
    return [pid, *(found for child in children for found in family(child))]


def waited_for_cpu() -> float:
    """Return for how many seconds in total the threads of this process were runnable and had no processor."""
    waited = 0
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            waited += int((thread / "schedstat").read_text().split()[1])
    return waited / 1e9


def resources(pids: Iterable[int]) -> Resources:
    """Sum up the present resources of these processes; one that has ended has none."""
    memory = threads = descriptors = 0
    for pid in pids:
        with suppress(OSError):
            place = Path(f"/proc/{pid}")
            held = int((place / "statm").read_text().split()[1]) * PAGE
            counted = len(list((place / "task").iterdir())), len(list((place / "fd").iterdir()))
            memory, threads, descriptors = memory + held, threads + counted[0], descriptors + counted[1]
    return Resources(memory, threads, descriptors)
