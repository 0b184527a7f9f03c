"""The server that is about to serve an application: one that can't is refused at start, not by pages that wait for ever."""

from __future__ import annotations

import os
import sys
from typing import Any, Final

from petiole.errors import SetupError

WEBSOCKET_WORKER: Final = "geventwebsocket.gunicorn.workers.GeventWebSocketWorker"
THREADS: Final = "--worker-class gthread --threads 100 with SocketIO(async_mode='threading')"


def check_server(async_mode: str | None) -> None:
    """Refuse a worker of gunicorn that can't serve Socket.IO in this mode; other servers aren't looked at.

    Raises:
        SetupError: it can't.
    """
    config = _gunicorn_config() if "gunicorn" in sys.modules else None
    if config is None:
        return
    kinds = {each.__name__ for each in config.worker_class.__mro__}
    if "SyncWorker" in kinds:
        raise SetupError(
            "gunicorn's sync worker serves one request at a time, so one open page would hold all of it. Start gunicorn with "
            f"--worker-class {WEBSOCKET_WORKER}, or with {THREADS}."
        )
    if "ThreadWorker" in kinds and async_mode != "threading":
        raise SetupError(
            f"gunicorn's gthread worker can't serve Socket.IO in the mode {async_mode}. Make it "
            "SocketIO(async_mode='threading')."
        )
    if "GeventWorker" in kinds and WEBSOCKET_WORKER.rpartition(".")[2] not in kinds and _needs_gevent_websocket():
        raise SetupError(
            "gunicorn's gevent worker serves no WebSocket where gevent-websocket is installed. Start gunicorn with "
            f"--worker-class {WEBSOCKET_WORKER}."
        )
    mount = os.environ.get("SCRIPT_NAME", "").strip("/")
    if mount and "GeventPyWSGIWorker" in kinds:
        raise SetupError(
            f"SCRIPT_NAME is /{mount}, of which this worker of gunicorn tells the application nothing. Unset it, and mount the "
            f"application: ProxyFix(x_prefix=1) behind a proxy that sends X-Forwarded-Prefix: /{mount}, else "
            "DispatcherMiddleware."
        )


def _gunicorn_config() -> Any:
    """Return the configuration of the gunicorn that imports the application just now; `None` if none does."""
    # gunicorn has no way to ask for it. Whether in its worker or, preloading, before that: its own object calls us.
    frame: Any = sys._getframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if type(caller).__module__.partition(".")[0] in ("gunicorn", "geventwebsocket"):
            config = getattr(caller, "cfg", None)
            if hasattr(config, "worker_class_str"):
                return config
        frame = frame.f_back
    return None


def _needs_gevent_websocket() -> bool:
    driver = sys.modules.get("engineio.async_drivers.gevent")
    return getattr(driver, "SimpleWebSocketWSGI", True) is None
