"""Shared reads: callers that ask the journal the same at the same time get one answer, read after all of them have asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Any, Final, TypeVar, cast

from petiole.errors import Unavailable

T = TypeVar("T")

READS_AT_ONCE: Final = 16
# A journal that doesn't answer occupies every place for its timeout. A caller that would wait longer is told to try again.
PLACE_WITHIN: Final = 5.0
# After a read that several wanted, the next one of its key waits this long for more of them. A single caller never waits.
GATHER: Final = 0.2


class _Batch:
    """One read and the callers that wait for it."""

    __slots__ = ("callers", "done", "error", "value")

    def __init__(self) -> None:
        self.callers = 1
        self.done = threading.Event()
        self.value: Any = None
        self.error: BaseException | None = None


class SharedReads:
    """At most one read of a key is under way, and at most `at_once` of all keys. Thread-safe.

    A read that began before the caller asked is never its answer: what the caller must not miss may have happened after it.
    Those who ask while a read is under way wait together for the next one, and a herd's reads are `gather` seconds apart.
    Answers are shared, so nobody may change them.
    """

    def __init__(
        self, *, at_once: int = READS_AT_ONCE, place_within: float = PLACE_WITHIN, gather: float = GATHER
    ) -> None:
        self._places = threading.BoundedSemaphore(at_once)
        self._place_within = place_within
        self._gather = gather
        self._lock = threading.Lock()
        self._running: dict[Hashable, _Batch] = {}
        self._waiting: dict[Hashable, _Batch] = {}
        self._shared_at: dict[Hashable, float] = {}

    def share(self, key: Hashable, read: Callable[[], T]) -> T:
        """Return what `read` returns; every caller's `read` of one key has to be the same.

        Raises:
            Unavailable: too many reads are under way; and whatever `read` raises.
        """
        with self._lock:
            batch = self._waiting.get(key)
            leads = batch is None
            if batch is None:
                batch = self._waiting[key] = _Batch()
            else:
                batch.callers += 1
            before = self._running.get(key)
        if leads:
            if before is not None:
                before.done.wait()
            self._pause(key)
            self._lead(key, batch, read)
        else:
            batch.done.wait()
        if batch.error is not None:
            raise batch.error
        return cast(T, batch.value)

    def _lead(self, key: Hashable, batch: _Batch, read: Callable[[], Any]) -> None:
        placed = self._places.acquire(timeout=self._place_within)
        with self._lock:
            # From here on nobody joins this batch: the read begins.
            del self._waiting[key]
            self._running[key] = batch
        try:
            if not placed:
                raise Unavailable("Too many reads of the journal are under way. Try again in a few seconds.")
            batch.value = read()
        except BaseException as error:  # noqa: BLE001 (whoever waits gets it, the leader too)
            batch.error = error
        finally:
            if placed:
                self._places.release()
            with self._lock:
                if self._running.get(key) is batch:
                    del self._running[key]
                if batch.callers > 1:
                    self._shared_at.pop(key, None)
                    self._shared_at[key] = time.monotonic()
            batch.done.set()

    def _pause(self, key: Hashable) -> None:
        now = time.monotonic()
        with self._lock:
            # Ordered by instant: the oldest come first.
            while self._shared_at and now - next(iter(self._shared_at.values())) >= self._gather:
                del self._shared_at[next(iter(self._shared_at))]
            shared_at = self._shared_at.get(key)
        if shared_at is not None:
            time.sleep(shared_at + self._gather - now)
