"""`petiole demo`: the Data Export application."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any, Final

import click

from petiole.errors import PetioleError

COLOURS: Final = ("cyan", "green", "magenta", "yellow", "blue")


@click.command()
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
