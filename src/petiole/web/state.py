"""What one Flask application has of Petiole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from flask import current_app
from flask_socketio import SocketIO

from petiole.dispatch.tracking import Tracking
from petiole.errors import SetupError
from petiole.journal import Journal
from petiole.loop import Loop
from petiole.settings import Settings
from petiole.web.access.rights import Rights
from petiole.web.access.tokens import Tokens
from petiole.web.background.notices import NoticeDelivery
from petiole.web.background.readiness import Readiness
from petiole.web.background.reaper import Reaper
from petiole.web.background.shutdown import Shutdown
from petiole.web.engineio.send_limit import SendLimit
from petiole.web.refusal_log import RefusalLog
from petiole.web.relay.relay import Relay

EXTENSION: Final = "petiole"


@dataclass(slots=True)
class State:
    """The parts of one application, in `app.extensions["petiole"]`. `user`: who is asking in the present request.

    `background`: makes the loops that others run beside Petiole's own.
    """

    settings: Settings
    socketio: SocketIO
    tracking: Tracking
    user: Callable[[], str | None]
    relay: Relay
    send_limit: SendLimit
    reaper: Reaper
    notices: NoticeDelivery
    readiness: Readiness
    rights: Rights
    tokens: Tokens
    shutdown: Shutdown
    refusals: RefusalLog
    background: Sequence[Callable[[], Loop | None]]
    working: bool = False

    @property
    def journal(self) -> Journal:
        return self.tracking.journal

    def begin(self) -> None:
        """Start this process's work in the background, once: with the first request or connection, so after every fork."""
        # An application's own tests have nothing to reap.
        if self.working or current_app.testing:
            return
        if self.socketio.server is None:
            raise SetupError("Socket.IO isn't set up for this application. Call socketio.init_app(app).")
        self.working = True
        self.shutdown.at_request()
        added = [loop for make in self.background if (loop := make()) is not None]
        self.readiness.watch(added)
        for work in (self.reaper.run, self.notices.run, self.rights.run, *(loop.run for loop in added)):
            self.socketio.start_background_task(work)


def current_state() -> State:
    """Return what the application of the present request has.

    Raises:
        SetupError: `init_app` wasn't called for it.
    """
    state = current_app.extensions.get(EXTENSION)
    if not isinstance(state, State):
        raise SetupError("Petiole isn't set up for this application. Call petiole.init_app(app, socketio).")
    return state
