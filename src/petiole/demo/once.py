"""`petiole demo --once`: one export from click to checked file, without a browser."""

from __future__ import annotations

import csv
import hashlib
import io
import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urljoin

import requests

from petiole.client import Receipt, TaskClient
from petiole.errors import PetioleError
from petiole.exports.database import Database
from petiole.protocol.events import Event

TABLE: Final = "flights"
TASK_TIMEOUT: Final = 600.0


class CheckFailed(PetioleError):
    """A check of the export failed."""


@dataclass(slots=True)
class Timeline:
    """When each milestone was seen, in milliseconds since the request; each name once."""

    began: float = field(default_factory=time.perf_counter)
    marks: dict[str, float] = field(default_factory=dict)

    def mark(self, name: str) -> None:
        self.marks.setdefault(name, (time.perf_counter() - self.began) * 1000)

    def take(self, event: Event) -> None:
        """Mark the milestones that an event reaches."""
        state = event.patch.get("state")
        if state in ("queued", "running"):
            self.mark(state)
        progress = event.progress or {}
        if progress.get("unit") == "rows" and progress.get("completed"):
            self.mark("first rows")
            share = progress["completed"] / progress["total"]
            for quarter in (25, 50, 75, 100):
                if share * 100 >= quarter:
                    self.mark(f"{quarter} % of the rows")
        if state == "succeeded":
            self.mark("finished")


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one checked export."""

    timeline: Timeline
    rows: int
    size: int
    sha256: str
    receipt: Receipt


def export_once(url: str, database: Database, *, check: Callable[[], None]) -> Report:
    """Export the whole table over HTTP, follow it over Socket.IO, download the file and compare it with the database.

    `check` is called while waiting, and raises if the system at `url` has died.

    Raises:
        CheckFailed: the export, its events or its file aren't what they must be.
    """
    session = requests.Session()
    session.trust_env = False  # never by a proxy
    session.get(urljoin(url, "/"), timeout=10).raise_for_status()
    client = TaskClient(url, session=session)
    timeline = Timeline()
    try:
        timeline.mark("asked")
        response = session.post(urljoin(url, "/exports"), json={"table": TABLE}, timeout=10)
        timeline.mark("202")
        if response.status_code != 202:
            raise CheckFailed(f"The export was answered with {response.status_code}: {response.text[:300]}")
        accepted = response.json()
        if accepted["document"]["state"] == "queued":
            timeline.mark("queued")
        view = client.watch(
            accepted["feed"], cursor=accepted["cursor"], document=accepted["document"], on_event=timeline.take
        )
        document = _wait(view.wait, check)
        if document["state"] != "succeeded":
            raise CheckFailed(f"The export ended as {document['state']}: {document.get('reason')}")
        receipt = view.receipt
        if receipt is None or not receipt.complete:
            raise CheckFailed(
                f"Events are missing: {receipt.shown if receipt else 0} of {receipt.facts if receipt else '?'}."
            )
        artifact = document["artifacts"][0]
        content = _download(session, urljoin(url, artifact["url"]), artifact)
        timeline.mark("downloaded")
        rows = compare(content, database)
        if rows != artifact["rows"]:
            raise CheckFailed(f"The file has {rows:,} rows, its event says {artifact['rows']:,}.")
        return Report(timeline, rows, len(content), artifact["sha256"], receipt)
    finally:
        client.close()


def compare(content: bytes, database: Database) -> int:
    """Compare a CSV of the whole table with the database, row by row, and return the number of rows.

    Raises:
        CheckFailed: they differ.
    """
    with closing(_rows(database)) as rows:
        names = next(rows)
        lines = csv.reader(io.StringIO(content.decode("utf-8"), newline=""))
        if next(lines, None) != list(names):
            raise CheckFailed("The file's header isn't the table's columns.")
        count = 0
        for line in lines:
            row = next(rows, None)
            if row is None or len(line) != len(row) or not all(map(_same, line, row)):
                raise CheckFailed(f"Row {count + 1:,} of the file isn't the database's: {line} against {row}.")
            count += 1
        if next(rows, None) is not None:
            raise CheckFailed(f"The file ends after {count:,} rows, the table doesn't.")
    return count


def _rows(database: Database) -> Generator[tuple[Any, ...], None, None]:
    """Yield the names of the table's columns, then its rows."""
    if database.path is None:
        from petiole.demo.postgres_data import read_table

        yield from read_table(database, TABLE)
        return
    with closing(sqlite3.connect(f"file:{database.path}?mode=ro", uri=True)) as connection:
        cursor = connection.execute(f"SELECT * FROM {TABLE} ORDER BY rowid")
        yield tuple(column[0] for column in cursor.description)
        yield from cursor


def _same(cell: str, value: Any) -> bool:
    if value is None:
        return cell == ""
    if isinstance(value, float):
        return float(cell) == value
    return cell == str(value)


def _wait(wait: Callable[..., dict[str, Any]], check: Callable[[], None]) -> dict[str, Any]:
    deadline = time.monotonic() + TASK_TIMEOUT
    while True:
        try:
            return wait(timeout=1.0)
        except TimeoutError:
            check()
            if time.monotonic() > deadline:
                raise


def _download(session: requests.Session, url: str, artifact: dict[str, Any]) -> bytes:
    response = session.get(url, timeout=60)
    if response.status_code != 200:
        raise CheckFailed(f"The download was answered with {response.status_code}: {response.text[:300]}")
    found = hashlib.sha256(response.content).hexdigest()
    if found != artifact["sha256"]:
        raise CheckFailed(f"The file's checksum is {found}, its event says {artifact['sha256']}.")
    return response.content
