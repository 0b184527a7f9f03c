"""A pytest plugin: every server that a test of python-socketio creates has Petiole's guard.

If a test has replaced the Engine.IO server by a mock, the mock gets the attributes that the guard reads, and the test's
calls go through the guard, as Engine.IO's do.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

import socketio

from suites.plugins.construction import after
from suites.plugins.guard import install


class AnySocket(dict[str, Any]):
    """The sockets of a mock of an Engine.IO server: every id belongs to an open one."""

    def get(self, eio_sid: str, default: object = None) -> Any:  # noqa: ARG002 (a dictionary's)
        return self.setdefault(eio_sid, mock.MagicMock(closed=False, closing=False, upgraded=False, sid=eio_sid))

    def __missing__(self, eio_sid: str) -> Any:
        return self.get(eio_sid)


def guard_server(server: Any) -> None:
    eio = server.eio
    if not isinstance(eio, mock.NonCallableMock):
        install(server)
        return
    shutdown = eio.shutdown
    eio.handlers = {call.args[0]: call.args[1] for call in eio.on.call_args_list}
    eio.sockets = AnySocket()
    eio.max_http_buffer_size = 1_000_000
    install(server)
    # The mock's own attribute stays: tests read its calls.
    eio.shutdown = shutdown
    for event in eio.handlers:
        # As Engine.IO removes them from its table.
        setattr(server, f"_handle_eio_{event}", eio.handlers[event])


after(socketio.Server, guard_server)
