"""What a PostgreSQL server is set to that weakens the promise, each in a sentence with its remedy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, func, select, text

OLDEST_POSTGRESQL: Final = 12


def inspect(connection: Connection, where: str) -> Sequence[str]:
    """Look at a PostgreSQL server."""
    found = []
    asked = "server_version_num", "server_version", "fsync", "full_page_writes", "synchronous_commit"
    told = {name: str(connection.scalar(select(func.current_setting(name)))) for name in asked}
    if int(told["server_version_num"]) < OLDEST_POSTGRESQL * 10_000:
        found.append(f"{where} is {told['server_version']}; Petiole needs {OLDEST_POSTGRESQL} or newer. Upgrade it.")
    found += [
        f"{where} may lose its data when its machine dies. Set {name} to on."
        for name in ("fsync", "full_page_writes")
        if told[name] == "off"
    ]
    if told["synchronous_commit"] == "off":
        found.append(
            f"{where} may forget what it has answered when it dies. Set synchronous_commit to on, or live with it: "
            "running tasks send their newest facts again."
        )
    if connection.scalar(text("SELECT pg_is_in_recovery()")):
        found.append(f"{where} is a standby and takes no events. Set PETIOLE_JOURNAL_URL to its primary.")
    return found
