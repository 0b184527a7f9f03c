"""Ends a database's query as soon as its result isn't wanted any more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from types import TracebackType
from typing import Final, Self

_EVERY: Final = 1.0


class QueryWatch:
    """Calls `check` once a second from its own thread, in the context of the thread that enters it.

    When `check` raises, `cancel` ends the query, and `cut` the connection if that doesn't help; the end of the block raises the
    same exception. The thread in the block may wait for the database meanwhile. `interrupted`: what the block raises then.
    """

    def __init__(
        self,
        check: Callable[[], object] | None,
        *,
        cancel: Callable[[], object],
        cut: Callable[[], object],
        interrupted: type[Exception],
    ) -> None:
        self._check = check
        self._cancel = cancel
        self._cut = cut
        self._interrupted = interrupted
        self._over = threading.Event()
        self._raised: BaseException | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._check is not None:
            context = copy_context()
            self._thread = threading.Thread(target=context.run, args=(self._watch,), name="petiole-query", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        # Another exception of the block, such as the same cancel heard in the block itself, propagates unchanged.
        if self._raised is not None and (error is None or isinstance(error, self._interrupted)):
            raise self._raised from None

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            try:
                if self._check is not None:
                    self._check()
            except BaseException as raised:  # noqa: BLE001 - re-raised in the waiting thread
                self._raised = raised
                self._cancel()
                if not self._over.wait(_EVERY):
                    self._cut()
                return
