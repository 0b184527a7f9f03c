"""A round of events into feeds that browsers watch, and its cost."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.fleet import Fleet, Used, Watchers
from benchmarks.site import ROOT, quantile

SECONDS: Final = 4.0
PATIENCE: Final = 5.0


@dataclass(frozen=True)
class Fed:
    """The cost of a round of events. `delivered`: to browsers; `sent`: to the journal."""

    used: Used
    sent: int
    delivered: int
    frame_bytes: float
    p50: float
    p99: float

    def each(self, kind: str, idle: Used, per: int) -> float:
        """Return the CPU of a kind for each of `per`, in microseconds, minus its idle CPU."""
        return (self.used.busy(kind) - idle.busy(kind)) * self.used.seconds / max(per, 1) * 1e6


def feed(site: Fleet, watchers: Watchers, feeds: Sequence[str], *, rate: float, each: int = 1) -> Fed:
    """Append to feeds in turn at a rate, as workers do, and wait until `each` browsers have each event."""
    watchers.ask("mark")
    begun = site.mark()
    command = [sys.executable, "-m", "benchmarks.feeder", "petiole", site.redis_url, str(rate), str(SECONDS), *feeds]
    sent = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)["sent"]
    deadline = time.monotonic() + PATIENCE
    while (said := watchers.ask("count"))["events"] < sent * each:
        if time.monotonic() > deadline:
            raise RuntimeError(f"Only {said['events']:,} of {sent * each:,} events had arrived after {PATIENCE:g} s.")
        time.sleep(0.05)
    used = site.used(begun, browsers=said["cpu"])
    delays = watchers.ask("delays")["delays"]
    size = said["bytes"] / said["events"]
    return Fed(used, sent, said["events"], size, quantile(delays, 0.5), quantile(delays, 0.99))


def middle(rounds: Sequence[Fed], idle: Used, kind: str, *, delivered: bool = False) -> float:
    """Return the median CPU of a kind of process for each event."""
    return statistics.median(one.each(kind, idle, one.delivered if delivered else one.sent) for one in rounds)
