"""The command `petiole`: a file for each of its commands."""

from __future__ import annotations

import click

from petiole import __version__
from petiole.cli.db import db
from petiole.cli.demo import demo
from petiole.cli.events import print_events
from petiole.cli.tasks import list_tasks
from petiole.cli.text import print_text
from petiole.cli.verify import verify_task
from petiole.cli.watch import watch


@click.group()
@click.version_option(__version__)
def cli() -> None:
    """Any Celery task live in the browser, through Flask-SocketIO, losslessly."""


for command in (demo, watch, list_tasks, print_events, verify_task, print_text, db):
    cli.add_command(command)


def main() -> None:
    """Run the command line."""
    cli(prog_name="petiole")
