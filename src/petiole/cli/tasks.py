"""`petiole tasks`: one person's tasks, in a table that is live."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import click

from petiole.cli.exits import CannotWatch, Interrupted
from petiole.cli.journal import journal_at, journal_url_option
from petiole.cli.target import list_of
from petiole.errors import Unavailable
from petiole.extras import MissingExtra, require
from petiole.protocol.events import Document, feed_id
from petiole.protocol.lines import printable, progress_of

if TYPE_CHECKING:
    from rich.table import Table

READ_EVERY: Final = 1.0
COLUMNS: Final = ("id", "task", "state", "progress", "since")

# The tasks by their ids, newest first.
Listed = Sequence[tuple[str, Document]]


@click.command("tasks")
@click.argument("url", required=False)
@click.option("--owner", help="Without URL: whose tasks, as the journal names people: user:ann, nobody.")
@click.option("--state", help="Only those in this state, such as running.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 100), help="How many, the newest first.")
@click.option("--token", help="A token of the web application.")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Sent along, such as a cookie.")
@click.option("--once", is_flag=True, help="Print the table once. So it does where there is no terminal.")
@journal_url_option
def list_tasks(
    url: str | None,
    owner: str | None,
    state: str | None,
    limit: int,
    token: str | None,
    headers: tuple[str, ...],
    once: bool,
    journal_url: str | None,
) -> None:
    """Show a person's tasks: of the application at URL, or those of --owner in the journal. Ctrl-C ends it."""
    try:
        require("petiole tasks", "client", "rich")
        with ExitStack() as stack:
            if url is not None:
                read = _from_application(url, headers, token, state=state, limit=limit)
            elif owner is not None:
                journal = stack.enter_context(journal_at(journal_url))
                read = _from_journal(journal, owner, state=state, limit=limit)
            else:
                raise click.UsageError("Say whose tasks: the application's URL, or --owner for the journal.")
            _show(read, once=once)
    except MissingExtra as error:
        raise click.ClickException(str(error)) from error
    except click.ClickException as error:
        if type(error) is click.ClickException:
            # The journal's.
            raise CannotWatch(error.message) from error
        raise
    except KeyboardInterrupt:
        raise Interrupted() from None


def _from_application(
    url: str, headers: tuple[str, ...], token: str | None, *, state: str | None, limit: int
) -> Callable[[], Listed]:
    require("Reading an application's tasks", "client", "requests")
    from petiole.cli.http import fetch, session_of

    server, prefix = list_of(url)
    session = session_of(headers, token)
    parameters = {"limit": str(limit), **({} if state is None else {"state": state})}

    def read() -> Listed:
        found = fetch(session, f"{server}{prefix}/tasks", parameters)
        return [(task["id"], task["document"]) for task in found["tasks"]]

    return read


def _from_journal(journal: Any, owner: str, *, state: str | None, limit: int) -> Callable[[], Listed]:
    def read() -> Listed:
        found: list[tuple[str, Document]] = []
        before: int | None = None
        while True:
            snapshots, before = journal.list(owner, limit=100, before=before)
            fitting = (each for each in snapshots if state is None or each.document.get("state") == state)
            found += [(feed_id(snapshot.feed), snapshot.document) for snapshot in fitting]
            if before is None or len(found) >= limit:
                return found[:limit]

    return read


def _show(read: Callable[[], Listed], *, once: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False, emoji=False)
    listed = read()
    if once or not console.is_terminal:
        console.print(_table(listed))
        return
    with Live(_table(listed), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(READ_EVERY)
            caption = None
            try:
                listed = read()
            except (CannotWatch, Unavailable) as error:
                # It was there: it comes back.
                caption = printable(error)
            live.update(_table(listed, caption=caption), refresh=True)


def _table(listed: Listed, *, caption: str | None = None) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(*COLUMNS, box=None, caption=caption or ("" if listed else "No tasks."))
    for identity, document in listed:
        row = identity, document.get("title") or "", document.get("state") or "", _progress(document), _since(document)
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in row))
    return table


def _progress(document: Document) -> str:
    found = document.get("progress")
    fraction = found.get("fraction") if isinstance(found, dict) else None
    said = progress_of(document)
    return said if fraction is None else f"{int(fraction * 100)} %{f', {said}' if said else ''}"


def _since(document: Document) -> str:
    at = next((document[name] for name in ("finished_at", "started_at", "queued_at") if document.get(name)), None)
    return "" if at is None else datetime.fromtimestamp(at / 1000).strftime("%Y-%m-%d %H:%M:%S")
