"""What a task has said in a test: its facts, its counters and its texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from petiole.protocol.encoding import JSON
from petiole.protocol.events import COUNTER, ZERO_CHAIN, Cursor, Document, Event
from petiole.protocol.reader import Reader, Reading


@dataclass(frozen=True, slots=True)
class Recording:
    """One task from its start to its end.

    `events` has all of it, in order. `document` is what a page shows at the end. `value`: what the task has returned;
    `exception`: what it has raised, with its `traceback`.
    """

    id: str
    events: tuple[Event, ...]
    document: Document
    value: Any = None
    exception: BaseException | None = None
    traceback: str = ""

    @property
    def state(self) -> str:
        """The task's state: `succeeded`, `failed`, `cancelled`."""
        return str(self.document.get("state"))

    @property
    def reason(self) -> str | None:
        """The sentence that the page shows beside the state, if there is one."""
        reason = self.document.get("reason")
        return None if reason is None else str(reason)

    @property
    def facts(self) -> list[Event]:
        """What is never lost on its way to a page: states, stages, log lines, files, the task's own events."""
        return [event for event in self.events if event.is_fact]

    @property
    def counters(self) -> list[Document]:
        """The progress after each step. A page is shown at most ten of them a second, and always the last."""
        return [event.progress for event in self.events if event.kind == COUNTER and event.progress is not None]

    @property
    def progress(self) -> Document:
        """The progress at the end: `completed`, `total`, `fraction`, `stage`, `description`, `unit`."""
        found = self.document.get("progress")
        return found if isinstance(found, dict) else {}

    @property
    def states(self) -> list[str]:
        """Every state that the task was in, in order."""
        return [str(event.patch["state"]) for event in self.events if "state" in event.patch]

    @property
    def stages(self) -> list[str]:
        """The names of the stages, in order."""
        return [event.data["name"] for event in self.events if event.kind == "stage"]

    @property
    def logs(self) -> list[str]:
        """The log lines, in order."""
        return [event.data["message"] for event in self.events if event.kind == "log"]

    @property
    def artifacts(self) -> dict[str, Document]:
        """The announced files by their names."""
        return {artifact["name"]: artifact for artifact in self.document.get("artifacts", [])}

    def emitted(self, name: str) -> list[JSON]:
        """Return the data of every event of this name that the task has emitted."""
        return [event.data["data"] for event in self.events if event.kind == "custom" and event.data["name"] == name]

    @property
    def texts(self) -> dict[str, str]:
        """The task's texts by their names, as a page has them at the end."""
        first = self.events[0]
        reader = Reader(first.feed)
        reader.start()
        reader.answer(Reading(first.feed, {}, (), Cursor(first.epoch, 0, 0, ZERO_CHAIN), True))
        for event in self.events:
            reader.offer(event)
        return reader.texts

    def text(self, name: str = "output") -> str:
        """Return one of the task's texts, empty if it has written none of this name."""
        return self.texts.get(name, "")

    def __str__(self) -> str:
        """Return a line for each fact, for a person who looks for what went wrong."""
        began = self.events[0].at if self.events else 0
        lines = [f"{(event.at - began) / 1000:8.3f} s  {_said(event)}" for event in self.facts]
        steps = f"{len(self.counters):,} counters, progress {self.progress.get('completed', 0)}"
        return "\n".join([f"{self.document.get('title')} ({self.id})", *lines, steps, self.traceback]).rstrip()


def _said(event: Event) -> str:
    if event.kind == "state":
        reason = event.patch.get("reason")
        return f"{event.patch['state']}{f': {reason}' if reason else ''}"
    data = event.data or {}
    return f"{event.kind} {data.get('message') or data.get('name') or ''}".rstrip()
