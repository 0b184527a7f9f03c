"""Cancels a server's query as soon as its result isn't wanted any more."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from types import TracebackType
from typing import Final, Self

import psycopg

_EVERY: Final = 1.0
_CANCEL_TIMEOUT: Final = 2.0


class QueryWatch:
    """Calls `check` once a second from its own thread, in the context of the thread that enters it.

    When `check` raises, the query is cancelled, and the connection closed if that doesn't help; the end of the block raises the
    same exception. The thread in the block may wait for the server meanwhile.
    """

    def __init__(self, connection: psycopg.Connection, check: Callable[[], object] | None) -> None:
        self._connection = connection
        self._check = check
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
        if self._raised is not None and (error is None or isinstance(error, psycopg.Error)):
            raise self._raised from None

    def _watch(self) -> None:
        while not self._over.wait(_EVERY):
            try:
                if self._check is not None:
                    self._check()
            except BaseException as raised:  # noqa: BLE001 - re-raised in the waiting thread
                self._raised = raised
                self._end()
                return

    def _end(self) -> None:
        with suppress(psycopg.Error):
            self._connection.cancel_safe(timeout=_CANCEL_TIMEOUT)
        if not self._over.wait(_EVERY):
            # A frozen or unreachable server cancels nothing: the wait is ended here.
            with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(self._connection.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)
