"""Rings for a journal that doesn't ring by itself, without blocking the writer."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from petiole.errors import PetioleError
from petiole.logs import logger

log = logger(__name__)

# The queue grows past this only while the bus is away. Then the oldest are dropped: readers find gaps by themselves.
WAITING: Final = 1000

Publish: TypeAlias = Callable[[Sequence[tuple[str, str | bytes]]], None]


class Ringer:
    """Publishes rings in a thread of its own, in order. Thread-safe; a forked process gets its own thread.

    A ring that fails or overflows the queue is lost: that costs latency, never data.
    """

    def __init__(self, publish: Publish) -> None:
        self._publish = publish
        self._waiting: deque[tuple[str, str | bytes]] = deque(maxlen=WAITING)
        self._wake = threading.Event()
        self._begin = threading.Lock()
        self._process = 0
        self._away = False
        os.register_at_fork(after_in_child=self._after_fork)

    def ring(self, feed: str, text: str | bytes) -> None:
        """Queue one event; returns at once."""
        if self._process != os.getpid():
            self._start()
        self._waiting.append((feed, text))
        self._wake.set()

    def _start(self) -> None:
        with self._begin:
            if self._process != os.getpid():
                self._process = os.getpid()
                threading.Thread(target=self._run, name="petiole-ringer", daemon=True).start()

    def _after_fork(self) -> None:
        # The parent publishes what is queued, and its thread may have held these locks.
        self._waiting.clear()
        self._wake, self._begin = threading.Event(), threading.Lock()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while rings := self._take():
                self._pass_on(rings)

    def _take(self) -> list[tuple[str, str | bytes]]:
        rings: list[tuple[str, str | bytes]] = []
        while len(rings) < WAITING:
            try:
                rings.append(self._waiting.popleft())
            except IndexError:
                break
        return rings

    def _pass_on(self, rings: Sequence[tuple[str, str | bytes]]) -> None:
        try:
            self._publish(rings)
        except PetioleError as error:
            if not self._away:
                log.warning("bus_away", extra={"error": str(error)})
            self._away = True
        except Exception:
            log.exception("rings_lost", extra={"rings": len(rings)})
        else:
            if self._away:
                log.info("bus_back")
            self._away = False
