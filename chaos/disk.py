"""A worker whose disk fails, or whose process dies, at a named step of writing an export."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from petiole.worker.run import Run

PART = ".tmp-"
ORDERS = "disk.json"


def give_orders(directory: Path, **orders: Any) -> None:
    """Order a fault at a step, for all workers, from now on.

    `step` and `nth` (from 1, counted in each process from the order on); `what`: "child" and "worker" are killed there, a
    number is the `errno` of the call.
    """
    text = json.dumps({"number": time.monotonic_ns(), **orders})
    unfinished = directory / f"{ORDERS}.new"
    unfinished.write_text(text)
    unfinished.rename(directory / ORDERS)


def obey_orders() -> None:
    """Have this process check for orders at each step."""
    orders = Path(os.environ["CHAOS_HISTORY"]).parent / ORDERS
    counted: Counter[str] = Counter()
    current = 0

    def reached(step: str) -> None:
        nonlocal current
        try:
            given = json.loads(orders.read_text())
        except FileNotFoundError:
            return
        if given["number"] != current:
            current = given["number"]
            counted.clear()
        counted[step] += 1
        if (given["step"], given["nth"]) != (step, counted[step]):
            return
        match given["what"]:
            case "child":
                os.kill(os.getpid(), signal.SIGKILL)
            case "worker":
                os.killpg(os.getpgid(0), signal.SIGKILL)
            case number:
                raise OSError(number, os.strerror(number))

    for name in ("write", "fsync", "close"):
        setattr(os, name, _stepped(name, getattr(os, name), reached))
    replace = os.replace

    def replaced(source: Any, target: Any) -> None:
        if PART in str(source):
            reached("before replace")
        replace(source, target)
        if PART in str(source):
            reached("after replace")

    os.replace = replaced  # type: ignore[assignment]
    for name in ("confirm", "artifact", "finish"):
        _after(name, reached)


def _stepped(name: str, call: Callable[..., Any], reached: Callable[[str], None]) -> Callable[..., Any]:
    """Return a system call with a step before and after it if it is on a temporary file."""

    def stepped(descriptor: int, *arguments: Any) -> Any:
        if not _is_part(descriptor):
            return call(descriptor, *arguments)
        if name != "close":  # a close that fails has given the descriptor back all the same
            reached(f"before {name}")
        result = call(descriptor, *arguments)
        reached(f"after {name}")
        return result

    return stepped


def _is_part(descriptor: int) -> bool:
    with suppress(OSError):
        return PART in os.readlink(f"/proc/self/fd/{descriptor}")
    return False


def _after(name: str, reached: Callable[[str], None]) -> None:
    call = getattr(Run, name)

    def followed(self: Run, *arguments: Any, **how: Any) -> Any:
        result = call(self, *arguments, **how)
        reached(f"after {name}")
        return result

    setattr(Run, name, followed)
