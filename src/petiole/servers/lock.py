"""Allows one demo at a time in a directory, and no server of an earlier one: two servers would corrupt the same data."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from petiole.errors import SetupError

# How long the servers of a killed demo may take to end: its guardian is ending them.
SERVERS_END_WITHIN: Final = 10.0
POLL: Final = 0.05


@contextmanager
def locked(directory: Path, *, servers_end_within: float = SERVERS_END_WITHIN) -> Iterator[int]:
    """Lock out other demos, and yield the descriptor of the list of servers: a server that inherits it holds the lock too.

    Both are the kernel's locks of open files: they end with their holders, so a crash leaves none.

    Raises:
        SetupError: another demo has the directory, or a server of an earlier one.
        OSError: the directory can't be used.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("a") as demo, (directory / "servers").open("a+") as servers:
        if not _take(demo):
            raise SetupError(
                f"Another petiole demo runs in {directory}. Stop it, or choose another directory with --directory."
            )
        deadline = time.monotonic() + servers_end_within
        while not _take(servers):
            if time.monotonic() > deadline:
                raise SetupError(
                    f"{_listed(servers)} of an earlier petiole demo still runs in {directory}, and a second one would corrupt "
                    "its data. End it, or choose another directory with --directory."
                )
            time.sleep(POLL)
        servers.truncate(0)
        yield servers.fileno()


def _listed(servers: IO[str]) -> str:
    """Return the servers of a list that are alive."""
    servers.seek(0)
    alive = []
    for line in servers:
        name, _, pid = line.strip().partition(" ")
        with suppress(ValueError, ProcessLookupError):
            with suppress(PermissionError):
                os.kill(int(pid), 0)
            alive.append(f"{name} (process {pid})")
    return " and ".join(alive) or "A server"


def _take(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
