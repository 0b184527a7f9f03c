"""`petiole events`: what a task says, a line a fact."""

from __future__ import annotations

from typing import Any

import click

from petiole.cli.exits import CannotWatch
from petiole.cli.following import followed, following_options
from petiole.cli.interleaving import Interleaving
from petiole.protocol.lines import said_of
from petiole.protocol.reader import Reset


@click.command("events")
@following_options
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line, as the protocol has it: a tape.")
@click.option(
    "--all", "everything", is_flag=True, help="With --json: counters and texts too, so far as they come or are kept."
)
@click.option("--no-follow", is_flag=True, help="What is kept now, without waiting for the task's end.")
def print_events(task: str, as_json: bool, everything: bool, no_follow: bool, **where: Any) -> None:
    """Print what TASK says, from its first fact on, until it has ended. TASK is an id, or the address of a task."""
    laying = Interleaving()
    with followed(task, **where) as following:
        for came in following.steps(until_end=not no_follow):
            for action in came:
                if isinstance(action, Reset):
                    raise CannotWatch(
                        "Some of its facts aren't kept any more, or it began again meanwhile, so a part is missing here. "
                        "Run the command again for what is kept."
                    )
                event = action.event
                if not as_json:
                    said = said_of(event) if event.is_fact else None
                    if said is not None:
                        click.echo(said)
                elif everything:
                    for line in laying.lay(event, following.texts, run=following.text_run):
                        click.echo(line.to_text())
                elif event.is_fact:
                    click.echo(event.to_text())
