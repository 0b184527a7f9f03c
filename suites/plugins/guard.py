"""Petiole's guard, as `Petiole.init_app` installs it."""

from __future__ import annotations

from typing import Any, Final

from petiole.web.engineio.guard import Guard
from petiole.web.engineio.packets import RESERVED
from petiole.web.socket.namespace import NAMESPACE, PetioleNamespace

EVENTS: Final = {name.removeprefix("on_") for name in dir(PetioleNamespace) if name.startswith("on_")}


def install(server: Any) -> Guard:
    return Guard(server, text_only=NAMESPACE, events=EVENTS.difference(RESERVED))
