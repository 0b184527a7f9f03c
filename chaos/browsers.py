"""Clients that read as browsers do and write down what they show."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from typing import Any

from chaos.checker import Seen
from petiole.client import OnEvent, OnReset, TaskClient, TaskView
from petiole.events import Event
from petiole.feed import Action, Reader, Reading


class PlainReader(Reader):
    """Takes the first reading, and then whatever comes, in whatever order."""

    def offer(self, event: Event) -> list[Action]:
        return [self._apply(event)]

    def answer(self, reading: Reading) -> list[Action]:
        return super().answer(reading) if self.cursor is None else []


class PlainClient(TaskClient):
    """Joins the rooms again after a reconnect, and reads nothing."""

    def make_view(self, reader: Reader, on_event: OnEvent, on_reset: OnReset) -> TaskView:
        plain = PlainReader(reader.feed, cursor=reader.cursor, document=reader.document)
        plain.reading = False
        return super().make_view(plain, on_event, on_reset)


class Browser:
    """One tab that follows every task. `plain`: it reads once and then takes what comes, as the plain pattern does."""

    def __init__(self, name: str, url: str, *, plain: bool) -> None:
        self.name = name
        self.client = PlainClient(url) if plain else TaskClient(url)
        self.views: dict[int, TaskView] = {}
        self._entries: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self._lock = threading.Lock()

    def follow(self, task: int, accepted: dict[str, Any]) -> None:
        view = self.client.watch(
            accepted["feed"],
            cursor=accepted["cursor"],
            document=accepted["document"],
            on_event=lambda event: self._note(task, event),
            on_reset=lambda cursor: self._write(task, {"reset": str(cursor)}),
        )
        self.views[task] = view

    def wait(self, deadline: float) -> None:
        """Wait for the end of every task, until `deadline` (monotonic); what isn't seen is missing in the history."""
        for task, view in self.views.items():
            try:
                view.wait(timeout=max(deadline - time.monotonic(), 0.0))
            except TimeoutError:
                continue
            receipt = view.receipt
            self._write(task, {"end": view.document["state"], "complete": bool(receipt and receipt.complete)})

    def seen(self) -> list[Seen]:
        return [Seen(self.name, view.feed, task, list(self._entries[task])) for task, view in self.views.items()]

    def _note(self, task: int, event: Event) -> None:
        entry = {
            "event": event.id,
            "epoch": event.epoch,
            "seq": event.seq,
            "facts": event.facts,
            "run": event.run,
            "kind": event.kind,
            "state": event.patch.get("state"),
            "completed": (event.progress or {}).get("completed"),
        }
        if event.kind == "custom":
            entry["said"] = event.data["data"]
        self._write(task, entry)

    def _write(self, task: int, entry: dict[str, Any]) -> None:
        with self._lock:
            self._entries[task].append(entry)
