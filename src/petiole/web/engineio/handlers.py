"""Engine.IO's table of handlers, in which each handler is called through the guard, whoever has registered it and when.

Monitors such as Socket.IO's Admin UI put handlers of their own in the place of those that were there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import partial
from typing import Any, Final, TypeAlias

Handler: TypeAlias = Callable[..., Any]
# Called with the handler that is registered, and what that is called with: the id of a socket first.
Around: TypeAlias = Callable[..., Any]

_INSIDE: Final[ContextVar[frozenset[tuple[str, str]]]] = ContextVar("petiole_fence", default=frozenset())


class GuardedHandlers(dict[str, Handler]):
    """Handlers by their events. Each event of `around` is handled by `around[event](handler, eio_sid, …)`, once.

    A handler that calls the one before it, which it has taken out of this table, doesn't go through the guard again.
    """

    def __init__(self, handlers: Mapping[str, Handler], around: Mapping[str, Around]) -> None:
        super().__init__(handlers)
        self._around = around

    def __getitem__(self, event: str) -> Handler:
        handler = super().__getitem__(event)
        return partial(self._call, event, handler) if event in self._around else handler

    def _call(self, event: str, handler: Handler, eio_sid: str, *values: Any) -> Any:
        inside = _INSIDE.get()
        if (event, eio_sid) in inside:
            return handler(eio_sid, *values)
        before = _INSIDE.set(inside | {(event, eio_sid)})
        try:
            return self._around[event](handler, eio_sid, *values)
        finally:
            _INSIDE.reset(before)
