"""`petiole text`: what a task has written."""

from __future__ import annotations

import click

from petiole.cli.journal import journal_at, journal_url_option


@click.command("text")
@click.argument("task_id")
@click.argument("name", default="output")
@journal_url_option
def print_text(task_id: str, name: str, journal_url: str | None) -> None:
    """Print what a task has written so far: the text NAME, or `output`."""
    from petiole.protocol.events import task_feed
    from petiole.protocol.texts import is_text_name

    with journal_at(journal_url) as journal:
        text = journal.text(task_feed(task_id), name) if is_text_name(name) else None
    if text is None:
        raise click.ClickException(f"The journal has no text {name} of a task {task_id}. Run: petiole verify {task_id}")
    click.echo(text, nl=False)
