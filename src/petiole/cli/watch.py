"""`petiole watch`: a task's bar, its log and its texts, until it has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

from petiole.cli.exits import code_of
from petiole.cli.following import Following, Shown, followed, following_options
from petiole.extras import MissingExtra, require
from petiole.protocol.events import Document
from petiole.protocol.lines import printable, progress_of, said_of
from petiole.protocol.reader import Reset
from petiole.protocol.states import is_terminal
from petiole.protocol.texts import Texts

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

MAIN_TEXT: Final = "output"
RESET: Final = "— Some of its facts aren't kept any more, or it began again: a part may be missing above."


@click.command("watch")
@following_options
@click.option("--quiet", is_flag=True, help="The bar and the end only, without log lines and texts.")
def watch(task: str, quiet: bool, **where: Any) -> None:
    """Show TASK until it has ended: a bar, its log lines, its texts. TASK is an id, or the address of a task.

    The exit code says how it has ended: 0 succeeded, 1 failed, 3 cancelled, 4 lost. 5: it can't be watched. 130: Ctrl-C, which
    leaves the task alone.
    """
    try:
        require("petiole watch", "client", "rich")
    except MissingExtra as error:
        raise click.ClickException(str(error)) from error
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    with followed(task, **where) as following, _bar(console) as bar:
        lines = _Lines(following)
        trouble = None
        for came in following.steps():
            if following.trouble != trouble:
                trouble = following.trouble
                console.print(f"— {printable(trouble)}" if trouble else "— It goes on.")
            for line in () if quiet else lines.of(came):
                console.print(line)
            bar.show(following.document)
        document = following.document
    console.print(_end_of(document))
    raise click.exceptions.Exit(code_of(document))


class _Lines:
    """What is printed of a task: its facts, and its texts line by line as each is complete."""

    def __init__(self, following: Following) -> None:
        self._following = following
        self._printed: dict[str, str] = {}
        self._run = 0

    def of(self, came: Iterable[Shown]) -> Iterator[str]:
        """Yield the lines of what has come, each text before the fact that follows it."""
        for action in came:
            if isinstance(action, Reset):
                yield RESET
            elif action.event.is_fact:
                event = action.event
                yield from self._of_texts(event.texts, whole=is_terminal(event.patch.get("state")))
                if (said := said_of(event)) is not None:
                    yield said
        yield from self._of_texts(None)

    def _of_texts(self, upto: Texts | None, *, whole: bool = False) -> Iterator[str]:
        """Yield the lines that have come, up to these lengths; `whole`: the last one too, which has no end."""
        texts, run = self._following.texts, self._following.text_run
        if upto is not None and upto.run != run:
            return
        if run != self._run:
            if any(self._printed.values()):
                yield f"— Run {run} writes its texts anew."
            self._run, self._printed = run, {}
        for name, text in texts.items():
            there = text if upto is None else text.encode()[: upto.length(name)].decode(errors="ignore")
            printed = self._printed.get(name, "")
            fresh = there[len(printed) :] if there.startswith(printed) else ""
            complete = fresh if whole else fresh[: fresh.rfind("\n") + 1]
            self._printed[name] = printed + complete
            prefix = "" if name == MAIN_TEXT else f"{name} │ "
            for line in complete.removesuffix("\n").split("\n") if complete else ():
                yield f"{prefix}{printable(line)}"


class _Bar:
    """The bar of one task; nothing where there is no terminal."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._task = None if progress is None else progress.add_task("", total=None, said="")

    def show(self, document: Document) -> None:
        """Draw what a document says."""
        if self._progress is None or self._task is None:
            return
        found = document.get("progress")
        fraction = found.get("fraction") if isinstance(found, dict) else None
        said = ", ".join(part for part in (str(document.get("state") or "…"), progress_of(document)) if part)
        self._progress.update(
            self._task,
            description=printable(document.get("title") or ""),
            total=None if fraction is None else 1.0,
            completed=fraction or 0.0,
            said=said,
        )


@contextmanager
def _bar(console: Console) -> Iterator[_Bar]:
    from rich.progress import BarColumn, Progress, TextColumn

    if not console.is_terminal:
        yield _Bar(None)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[said]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bar(progress)


def _end_of(document: Document) -> str:
    """Return the line that is left when the bar is gone."""
    parts = [f"{document.get('title') or 'The task'}: {document.get('state')}"]
    progress = document.get("progress")
    if isinstance(progress, dict) and progress.get("completed"):
        counts = {name: value for name, value in progress.items() if name in ("completed", "total", "unit")}
        parts.append(progress_of({"progress": counts}))
    began, ended = document.get("started_at"), document.get("finished_at")
    if isinstance(began, int) and isinstance(ended, int):
        parts.append(f"{(ended - began) / 1000:.1f} s")
    return printable(", ".join(parts) + (f". {document['reason']}" if document.get("reason") else ""))
