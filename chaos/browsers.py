"""Clients that read as browsers do and record what they show."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from chaos.checker import Seen
from petiole.client import OnEvent, OnReset, TaskClient, TaskView
from petiole.client.refused import Refused
from petiole.protocol.events import Cursor, Document, Event, advance_chain
from petiole.protocol.reader import Action, Clear, Read, Reader, Reading, Write


class PlainReader(Reader):
    """Takes the first reading, then every event in any order; joins again after a reconnect without reading."""

    def __init__(self, feed: str, *, cursor: Cursor | None = None, document: Document | None = None) -> None:
        super().__init__(feed, cursor=cursor, document=document)
        self.reading = False

    def start(self) -> list[Action]:
        return [Read(self.cursor)]

    def offer(self, event: Event) -> list[Action]:
        return self._apply(event)

    def answer(self, reading: Reading) -> list[Action]:
        return super().answer(reading) if self.cursor is None else []


class CredulousReader(Reader):
    """Treats every reading as a continuation, so it never reports that something may be missing."""

    def _fits(self, reading: Reading) -> bool:  # noqa: ARG002
        return True


class NumbersReader(Reader):
    """Goes by numbers alone, and never checks the chain."""

    def offer(self, event: Event) -> list[Action]:
        if self.cursor is not None and not self.reading:
            chain = advance_chain(self.cursor.chain, event.id) if event.is_fact else self.cursor.chain
            event = replace(event, chain=chain)
        return super().offer(event)

    def _fits(self, reading: Reading) -> bool:
        return reading.recovered


class BlindReader(Reader):
    """Never looks at the lengths of texts: it shows each chunk after what it has."""

    def offer(self, event: Event) -> list[Action]:
        if self.cursor is not None and not self.reading:
            texts, chunk = self.cursor.texts.of_run(event.texts.run or self.cursor.texts.run), event.chunk
            data = event.data
            if chunk is not None:
                chunk = chunk._replace(at=texts.length(chunk.name))
                texts, data = texts.grown(chunk.name, chunk.end), chunk.to_wire()
            event = replace(event, texts=texts, data=data)
        return super().offer(event)


def reader_without(mechanism: str) -> type[Reader]:
    """Return the reader without a mechanism."""
    return {
        "rule": PlainReader,
        "read_again": PlainReader,
        "said": CredulousReader,
        "chain": NumbersReader,
        "lengths": BlindReader,
    }.get(mechanism, Reader)


class View(TaskView):
    """A view that also says what it shows of the texts."""

    note: Callable[[dict[str, Any]], None]

    def _act(self, actions: list[Action]) -> None:
        for action in actions:
            if (entry := text_entry_of(action)) is not None:
                self.note(entry)
        super()._act(actions)


class Client(TaskClient):
    """A client whose views may use another reader. `notes`: by the feed, who takes what a view shows of the texts."""

    def __init__(self, url: str, reader: type[Reader]) -> None:
        super().__init__(url)
        self._reader = reader
        self.notes: dict[str, Callable[[dict[str, Any]], None]] = {}

    def make_view(self, reader: Reader, on_event: OnEvent, on_reset: OnReset) -> TaskView:
        mine = self._reader(reader.feed, cursor=reader.cursor, document=reader.document)
        view = View(self, mine, on_event, on_reset)
        view.note = self.notes[reader.feed]
        return view


class Browser:
    """One tab that follows tasks.

    `without` names a mechanism that its reader lacks: with "rule" it reads once and then applies every event, as the plain
    pattern does.
    """

    def __init__(self, name: str, url: str, *, without: str = "") -> None:
        self.name = name
        self._reader = reader_without(without)
        self.client = Client(url, self._reader)
        self.views: dict[int, TaskView] = {}
        self._entries: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self._lock = threading.Lock()

    def follow(self, task: int, accepted: dict[str, Any]) -> None:
        self.views[task] = self._watch(task, accepted["feed"], accepted["cursor"], accepted["document"])

    def move(self, url: str) -> None:
        """Continue at another server from each view's cursor, as a page does behind a load balancer.

        Raises:
            PetioleError: that server accepts no connections now.
        """
        self.client.close()
        self.client = Client(url, self._reader)
        self.client.connect()
        for task, view in self.views.items():
            self.views[task] = self._watch(
                task, view.feed, None if view.cursor is None else str(view.cursor), view.document
            )

    def _watch(self, task: int, feed: str, cursor: str | None, document: Document | None) -> TaskView:
        # A new view has none of the text that an earlier one has shown.
        self._write(task, {"clear": 0})
        self.client.notes[feed] = lambda entry: self._write(task, entry)
        return self.client.watch(
            feed,
            cursor=cursor,
            document=document,
            on_event=lambda event: self._note(task, event),
            on_reset=lambda cursor: self._write(task, {"reset": str(cursor)}),
        )

    def wait(self, deadline: float) -> None:
        """Wait for the end of every task, until `deadline` (monotonic); unseen events are missing in the history."""
        for task, view in self.views.items():
            try:
                view.wait(timeout=max(deadline - time.monotonic(), 0.0))
            except TimeoutError:
                reader = view._reader
                self._write(task, {"stuck": f"{reader.cursor}, {'reading' if reader.reading else 'following'}"})
                continue
            except Refused as error:
                self._write(task, {"stuck": str(error)})
                continue
            receipt = view.receipt
            self._write(task, {"end": view.document["state"], "complete": bool(receipt and receipt.complete)})

    def entries(self, task: int) -> list[dict[str, Any]]:
        """Its record of a task so far."""
        with self._lock:
            return list(self._entries[task])

    def seen(self) -> list[Seen]:
        return [Seen(self.name, view.feed, task, self.entries(task)) for task, view in self.views.items()]

    def _note(self, task: int, event: Event) -> None:
        self._write(task, entry_of(event))

    def _write(self, task: int, entry: dict[str, Any]) -> None:
        with self._lock:
            self._entries[task].append({**entry, "at": time.monotonic()})


def text_entry_of(action: Action) -> dict[str, Any] | None:
    """Return a browser's record of what it does to a text, `None` if it does nothing."""
    match action:
        case Write(chunk):
            return {"text": [chunk.name, chunk.at, chunk.text]}
        case Clear(run):
            return {"clear": run}
    return None


def entry_of(event: Event) -> dict[str, Any]:
    """Return a browser's record of an event that it shows."""
    entry = {
        "event": event.id,
        "epoch": event.epoch,
        "seq": event.seq,
        "facts": event.facts,
        "run": event.run,
        "cursor": str(event.cursor),
        "kept_at": event.at,
        "kind": event.kind,
        "state": event.patch.get("state"),
        "completed": (event.progress or {}).get("completed"),
    }
    if event.kind == "custom" and event.data["name"] == "said":
        data = event.data["data"]
        entry["said"] = data["said"] if isinstance(data, dict) else data
    if event.kind == "log":
        entry |= {"message": event.data.get("message"), "dropped": event.data.get("dropped")}
    return entry
