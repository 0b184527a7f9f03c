"""`petiole verify`: what is kept of a task, against its receipt."""

from __future__ import annotations

from typing import Any

import click

from petiole.cli.journal import journal_at, journal_url_option


@click.command("verify")
@click.argument("task_id")
@journal_url_option
def verify_task(task_id: str, journal_url: str | None) -> None:
    """Read every fact and text of a task from the journal and check them against its receipt; of a group, count its tasks."""
    from petiole.journal.groups import CHILD_STATES
    from petiole.journal.verification import verify
    from petiole.protocol.events import task_feed

    with journal_at(journal_url) as journal:
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
