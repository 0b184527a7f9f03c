"""`petiole db`: the tables of a journal in a database."""

from __future__ import annotations

import os

import click

from petiole.errors import PetioleError


@click.group()
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
