"""Engine.IO's pings: those of all connections are sent by one task, a few at a time.

Engine.IO starts a thread or greenlet for each socket, which sleeps until the next ping, and past the socket's end. And
browsers that came at the same moment, as after a deployment, would be pinged in the same moment each time, and hold up the
events of all. So the first ping comes early, at a random instant, and pings that are due together go out in small parts.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from math import ceil
from typing import Any, Final

from engineio.exceptions import SocketIsClosedError
from engineio.packet import PING, Packet

from petiole.web.engineio.deadlines import Deadlines

# `send` is called so often, in seconds.
TICK: Final = 0.05
# Pings that are due at once go out within so many seconds: a browser waits for longer (pingInterval + pingTimeout).
WITHIN: Final = 5.0
# So many go out before events may.
AT_ONCE: Final = 10
# The first ping comes after this share of the interval at the earliest, and after the whole of it at the latest.
EARLIEST: Final = 0.2
# Undocumented attributes of Engine.IO's socket and server that this module uses.
NEEDED: Final = ("schedule_ping", "check_ping_timeout", "last_ping", "send", "closing", "closed", "sid")
NEEDED_OF_SERVER: Final = ("sockets", "ping_interval", "ping_timeout")
_PING: Final = Packet(PING)


class Pings:
    """The pings of one Engine.IO server.

    `answers`: sockets whose answers don't come in time are closed here, in place of Engine.IO's service task. `sleep`: the
    server's own.
    """

    def __init__(
        self, eio: Any, *, answers: bool, clock: Callable[[], float], sleep: Callable[[float], object]
    ) -> None:
        self._eio = eio
        self._sleep = sleep
        self._looks_for_answers = answers
        self._clock = clock
        # When each socket is to be pinged, and when the answer to its last ping is due.
        self._pings = Deadlines()
        self._answers = Deadlines()

    def take_over(self, socket: Any) -> None:
        """Send this socket's pings from now on; Engine.IO hasn't scheduled the first one."""
        socket.schedule_ping = lambda: self._begin(socket)

    def forget(self, eio_sid: str) -> None:
        """Forget a connection that has ended."""
        self._pings.drop(eio_sid)
        self._answers.drop(eio_sid)

    def send(self) -> None:
        """Send the pings that are due, as many as there is time for, and close sockets that haven't answered."""
        now = self._clock()
        silent = self._answers.take(now, limit=len(self._answers))
        due = self._pings.take(now, limit=ceil((len(self._pings) + len(self._answers)) * TICK / WITHIN))
        for number, eio_sid in enumerate([*silent, *due]):
            if number and number % AT_ONCE == 0:
                self._sleep(0)
            socket = self._eio.sockets.get(eio_sid)
            if socket is not None and not socket.closing and not socket.closed:
                self._look_at(socket, now)

    def _look_at(self, socket: Any, now: float) -> None:
        if socket.last_ping is None:
            socket.last_ping = time.time()
            if self._looks_for_answers:
                self._answers.set(socket.sid, now + self._eio.ping_timeout + TICK)
            with suppress(SocketIsClosedError):
                socket.send(_PING)
        elif socket.check_ping_timeout():
            # The server's clock has been set back.
            self._answers.set(socket.sid, now + self._eio.ping_timeout)

    def _begin(self, socket: Any) -> None:
        socket.schedule_ping = lambda: self._schedule(socket, self._eio.ping_interval)
        self._schedule(socket, self._eio.ping_interval * random.uniform(EARLIEST, 1))

    def _schedule(self, socket: Any, interval: float) -> None:
        # Engine.IO calls this at every answer, also at one that answers nothing.
        if socket.last_ping:
            socket.last_ping = None
            self._answers.drop(socket.sid)
            self._pings.set(socket.sid, self._clock() + interval)
