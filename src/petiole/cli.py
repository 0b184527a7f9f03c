"""The command `petiole`."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from petiole import __version__
from petiole.errors import PetioleError

COLOURS: Final = ("cyan", "green", "magenta", "yellow", "blue")


@click.group()
@click.version_option(__version__)
def cli() -> None:
    """Any Celery task live in the browser, through Flask-SocketIO, losslessly."""


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to serve on.")
@click.option("--port", default=5000, show_default=True, type=click.IntRange(0, 65535), help="0: any free port.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 100), help="Celery worker processes.")
@click.option(
    "--backbone",
    default="redis",
    show_default=True,
    type=click.Choice(["redis", "rabbitmq"]),
    help="What broker, journal and bus are: Redis, or RabbitMQ with PostgreSQL.",
)
@click.option("--redis-url", help="Use this Redis instead of an embedded one.")
@click.option(
    "--database-url",
    metavar="URL",
    help="Export from this PostgreSQL database instead of a SQLite file; the flights are put there if they are absent.",
)
@click.option(
    "--directory",
    default="petiole-demo",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Where the database, the exported files and the backbone's data are kept.",
)
@click.option(
    "--rows-per-second",
    default=0.0,
    type=click.FloatRange(0),
    help="Slow exports down, so that there is time to look at them. 0: full speed.",
)
@click.option("--once", is_flag=True, help="Export once without a browser, check the file, print the times, and exit.")
def demo(
    host: str,
    port: int,
    workers: int,
    backbone: str,
    redis_url: str | None,
    database_url: str | None,
    directory: Path,
    rows_per_second: float,
    once: bool,
) -> None:
    """Run the Data Export application: its backbone, a Celery worker and the web server, each in its own process."""
    try:
        from petiole.demo.system import Options
    except ImportError as error:
        raise click.ClickException(f"The demo needs {error.name}. Run: pip install 'petiole[demo]'") from error
    options = Options(
        host=host,
        port=0 if once and port == 5000 else port,
        workers=workers,
        directory=directory.absolute(),
        backbone=backbone,
        redis_url=redis_url,
        database_url=database_url,
        rows_per_second=rows_per_second,
    )
    for number in (signal.SIGTERM, signal.SIGHUP):
        # Not where somebody has it ignored, as nohup does.
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)
    try:
        if once:
            _export_once(options)
        else:
            _serve(options)
    except PetioleError as error:
        raise click.ClickException(str(error)) from error


_journal_url = click.option("--journal-url", help="The journal; without it PETIOLE_JOURNAL_URL or CELERY_BROKER_URL.")


@contextmanager
def _journal_at(url: str | None) -> Iterator[Any]:
    from petiole.celery_urls import CeleryUrls
    from petiole.journal import open_journal
    from petiole.settings import Settings

    try:
        given = {"PETIOLE_JOURNAL_URL": url} if url else {}
        celery = CeleryUrls(broker_url=os.environ.get("CELERY_BROKER_URL"))
        settings = Settings.load(environ={**os.environ, **given}, celery=celery)
        journal = open_journal(settings, rings=False)
        yield journal
        journal.close()
    except PetioleError as error:
        raise click.ClickException(str(error)) from error


@cli.command("verify")
@click.argument("task_id")
@_journal_url
def verify_task(task_id: str, journal_url: str | None) -> None:
    """Read every fact and text of a task from the journal and check them against its receipt; of a group, count its tasks."""
    from petiole.journal.groups import CHILD_STATES
    from petiole.journal.verification import verify
    from petiole.protocol.events import task_feed

    with _journal_at(journal_url) as journal:
        found = verify(journal, task_feed(task_id))
    if found is None:
        raise click.ClickException(f"The journal has no task {task_id}. Look at the id, and at PETIOLE_KEY_PREFIX.")
    what = "receipt" if found.ended else "so far"
    click.echo(f"{found.feed}: {found.state}, {found.read:,} of {found.facts:,} facts, {what} {found.chain}")
    for name in sorted({*found.lengths, *found.texts}):
        click.echo(f"text {name}: {_said_of_text(found, name)}")
    if found.counts:
        told = ", ".join(f"{found.counts[state]:,} {state}" for state in CHILD_STATES if state in found.counts)
        click.echo(f"{sum(found.counts.values()):,} tasks: {told}")
    if found.miscounted:
        raise click.ClickException(
            "Its document has other numbers than its tasks. The journal has lost or changed a part."
        )
    if not found.complete:
        raise click.ClickException("Its first facts aren't kept any more, so it can't be checked from the start.")
    if found.wrong_texts:
        names = ", ".join(found.wrong_texts)
        raise click.ClickException(f"Not what the task has written: {names}. The journal has lost or changed a part.")


def _said_of_text(found: Any, name: str) -> str:
    length, receipt = found.lengths.get(name, 0), found.texts.get(name)
    if receipt is None:
        return f"{length:,} bytes, {'partial' if found.ended else 'so far'}"
    omitted = f", {receipt.omitted:,} bytes past the limit omitted" if receipt.omitted else ""
    return f"{length:,} of {receipt.length:,} bytes, sha256 {receipt.sha256}{omitted}"


@cli.command("text")
@click.argument("task_id")
@click.argument("name", default="output")
@_journal_url
def print_text(task_id: str, name: str, journal_url: str | None) -> None:
    """Print what a task has written so far: the text NAME, or `output`."""
    from petiole.protocol.events import task_feed
    from petiole.protocol.texts import is_text_name

    with _journal_at(journal_url) as journal:
        text = journal.text(task_feed(task_id), name) if is_text_name(name) else None
    if text is None:
        raise click.ClickException(f"The journal has no text {name} of a task {task_id}. Run: petiole verify {task_id}")
    click.echo(text, nl=False)


@cli.group()
def db() -> None:
    """The tables of a journal in a database."""


@db.command("upgrade")
@click.option("--journal-url", help="The journal's database; without it PETIOLE_JOURNAL_URL.")
def upgrade_tables(journal_url: str | None) -> None:
    """Create the journal's tables, or bring those of an older Petiole to this version."""
    url = journal_url or os.environ.get("PETIOLE_JOURNAL_URL", "")
    if not url:
        raise click.ClickException("Say where the database is: set PETIOLE_JOURNAL_URL, or pass --journal-url.")
    try:
        from petiole.journal.sql.server import upgrade

        where, before, after = upgrade(url)
    except PetioleError as error:
        raise click.ClickException(str(error)) from error
    if before == after:
        click.echo(f"{where}: the tables are of version {after} already.")
    else:
        click.echo(f"{where}: {'created' if before is None else f'upgraded from version {before}'}, version {after}.")


def _serve(options: Any) -> None:
    from petiole.demo.system import running, watch_over

    began = time.perf_counter()
    try:
        with running(options, _say) as system:
            click.echo()
            for line in system.started:
                click.echo(f"  {line}")
            click.secho(f"\n  Ready after {time.perf_counter() - began:.1f} s:  {system.url}", bold=True)
            click.echo("  Ctrl-C stops everything.\n")
            watch_over(system)
    except KeyboardInterrupt:
        click.echo("\nStopped.")


def _export_once(options: Any) -> None:
    from petiole.demo.once import export_once
    from petiole.demo.system import running

    lines: list[tuple[str, str]] = []
    began = time.perf_counter()
    try:
        with running(options, lambda name, line: lines.append((name, line))) as system:
            click.echo(f"ready after {time.perf_counter() - began:.1f} s at {system.url}")
            report = export_once(system.url, system.database, check=system.processes.check)
    except KeyboardInterrupt:
        raise click.ClickException("Interrupted before the export was checked.") from None
    except PetioleError:
        for name, line in lines[-40:]:
            _say(name, line)
        raise
    for name, at in report.timeline.marks.items():
        click.echo(f"{name:<18}{at:>10.1f} ms")
    click.echo(f"file: {report.rows:,} rows, {report.size:,} bytes, sha256 {report.sha256}, equal to the database")
    click.echo(f"receipt: {report.receipt.shown:,} of {report.receipt.facts:,} facts, none missing")


_say_lock = threading.Lock()


def _say(name: str, line: str) -> None:
    colour = COLOURS[sum(name.encode()) % len(COLOURS)]
    with _say_lock:
        click.echo(f"{click.style(f'{name:>8} │', fg=colour)} {line}")


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line."""
    cli(prog_name="petiole")


if __name__ == "__main__":
    main()
