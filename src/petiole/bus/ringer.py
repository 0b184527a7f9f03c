"""Rings for a journal that doesn't ring by itself, without holding up whoever writes."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from petiole.errors import PetioleError
from petiole.logs import logger

log = logger(__name__)

# More than this wait only while the bus is away, and then the oldest are let go: readers find gaps by themselves.
WAITING: Final = 1000

Publish: TypeAlias = Callable[[Sequence[tuple[str, str | bytes]]], None]


class Ringer:
    """Passes rings on in a thread of its own, in their order. Thread-safe; a forked process gets its own thread.

    A ring that fails, or is too many, is lost: that costs time, never data.
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
        """Have one event passed on; returns at once."""
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
        # What waits here is the other process's to tell, and its thread may have held these.
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
