"""Plays a tape to real clients and pages, as a web application would, with faults at chosen lines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

from petiole.extras import require

require("Playing a tape", "web", "flask", "socketio")

import socketio  # noqa: E402 (after the look at what it needs)
from flask import Flask, Response, jsonify, request, send_from_directory  # noqa: E402
from werkzeug.serving import WSGIRequestHandler, make_server  # noqa: E402

from petiole import web  # noqa: E402
from petiole.errors import InvalidName, PetioleError  # noqa: E402
from petiole.protocol.events import Cursor, Event, feed_id  # noqa: E402
from petiole.testing.tape import Tape  # noqa: E402

NAMESPACE: Final = "/petiole"
# How long it waits for somebody: to watch, to come back after a cut, to take an event.
PATIENCE: Final = 10.0
PAGE: Final = """<!doctype html>
<title>Tape</title>
<link rel="icon" href="data:,">
<script src="/petiole/static/petiole.js"></script>
<petiole-task task="{id}"></petiole-task>
"""


class Player:
    """A tape's web application. It begins to play, from its second line on, when somebody first watches.

    Of `drop` nothing is sent, though a reading has it; `double` are sent twice; after `cut` every connection breaks off, and
    the tape goes on once somebody watches again. `speed`: how much faster than it was recorded, 0 for at once. `lockstep`: each
    event waits until every watching Python client has taken the one before; a browser's client doesn't say so.
    """

    def __init__(
        self,
        tape: Tape,
        *,
        drop: Collection[int] = (),
        double: Collection[int] = (),
        cut: Collection[int] = (),
        speed: float = 0.0,
        lockstep: bool = False,
    ) -> None:
        self._tape = tape
        self._drop, self._double, self._cut = frozenset(drop), frozenset(double), frozenset(cut)
        for line in self._drop | self._double | self._cut:
            if not 2 <= line <= len(tape.events):
                raise PetioleError(f"Line {line} isn't played. Choose one from 2 to {len(tape.events)}.")
        self._speed, self._lockstep = speed, lockstep
        # The task is there before anybody watches it.
        self._line = 1
        self._watching: set[str] = set()
        self._watches = 0
        self._untaken = 0
        self._changed = threading.Condition()
        self._closing = False
        # Handlers run in the order of a connection's messages, so that an event is taken after the read that it causes.
        self._server = socketio.Server(async_mode="threading", async_handlers=False, cors_allowed_origins=[])
        self._server.on("disconnect", self._on_disconnect, namespace=NAMESPACE)
        for name, handler in (("watch", self._on_watch), ("unwatch", self._on_unwatch)):
            self._server.on(name, handler, namespace=NAMESPACE)
        for name in ("cancel", "retry", "acknowledge"):
            self._server.on(name, _refuse, namespace=NAMESPACE)
        self._thread = threading.Thread(target=self._play, name="petiole-tape", daemon=True)
        self.url = ""
        self.has_played = False

    @property
    def feed(self) -> str:
        """What a client watches."""
        return self._tape.feed

    @contextmanager
    def serving(self) -> Iterator[Player]:
        """Serve it on a free port of this machine, at `url`; a page with the task is at the same address."""
        app = socketio.WSGIApp(self._server, _pages(self._tape, lambda: self._line))
        http = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
        self.url = f"http://127.0.0.1:{http.server_port}/"
        thread = threading.Thread(target=http.serve_forever, args=(0.05,), name="petiole-tape-http", daemon=True)
        thread.start()
        self._thread.start()
        try:
            yield self
        finally:
            with self._changed:
                self._closing = True
                self._changed.notify_all()
            self._thread.join(PATIENCE)
            http.shutdown()
            thread.join(PATIENCE)
            http.server_close()

    def wait(self, *, timeout: float = PATIENCE) -> None:
        """Wait until the whole tape was played.

        Raises:
            TimeoutError: it wasn't.
        """
        if not self._wait(lambda: self.has_played, timeout):
            raise TimeoutError(
                f"The tape is at line {self._line} of {len(self._tape.events)}. Watch {self.feed} at {self.url}"
            )

    def _play(self) -> None:
        if not self._wait(lambda: self._watches > 0, None):
            return
        before = self._tape.events[0]
        for line, event in enumerate(self._tape.events[1:], start=2):
            if self._speed > 0:
                self._pause((event.at - before.at) / 1000 / self._speed)
            if self._closing:
                return
            before = event
            with self._changed:
                # A journal keeps an event before it rings.
                self._line = line
                watching, watches = frozenset(self._watching), self._watches
            times = 0 if line in self._drop else 2 if line in self._double else 1
            for _ in range(times):
                self._ring(event, watching)
            if line in self._cut:
                self._break_off(watching)
                self._wait(lambda watches=watches: self._watches > watches, PATIENCE)  # type: ignore[misc]
        if len(self._tape.events) in self._drop:
            # A lost tail is found by the relay's own look at the journal.
            self._ring(before, frozenset(self._watching))
        with self._changed:
            self.has_played = True
            self._changed.notify_all()

    def _ring(self, event: Event, watching: Collection[str]) -> None:
        with self._changed:
            self._untaken = len(watching)
        for sid in watching:
            self._server.emit(
                "event",
                event.to_wire(),
                to=sid,
                namespace=NAMESPACE,
                callback=self._on_taken if self._lockstep else None,
            )
        if self._lockstep:
            self._wait(lambda: self._untaken <= 0, PATIENCE)

    def _break_off(self, watching: Collection[str]) -> None:
        with self._changed:
            self._watching -= set(watching)
        for sid in watching:
            transport = self._server.manager.eio_sid_from_sid(sid, NAMESPACE)
            socket = self._server.eio.sockets.get(transport)
            if socket is not None:
                socket.close(wait=False)

    def _pause(self, seconds: float) -> None:
        ends = time.monotonic() + seconds
        with self._changed:
            self._changed.wait_for(lambda: self._closing or time.monotonic() >= ends, max(seconds, 0.0))

    def _wait(self, condition: Callable[[], bool], timeout: float | None) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: condition() or self._closing, timeout) and not self._closing

    def _on_watch(self, sid: str, message: dict[str, Any]) -> dict[str, Any]:
        try:
            cursor = None if message.get("cursor") is None else Cursor.parse(message["cursor"], message.get("texts"))
        except InvalidName as error:
            return {"error": {"status": 400, "title": "Bad request", "detail": str(error)}}
        if message.get("feed") != self._tape.feed:
            return {"error": {"status": 404, "title": "Not found", "detail": f"This tape has {self._tape.feed} alone."}}
        with self._changed:
            self._watching.add(sid)
            self._watches += 1
            reading = self._tape.read(cursor, upto=self._line, texts=message.get("texts") is not False)
            self._changed.notify_all()
        return reading.to_wire()

    def _on_unwatch(self, sid: str, _message: object) -> dict[str, Any]:
        self._leave(sid)
        return {}

    def _on_disconnect(self, sid: str, *_reason: object) -> None:
        self._leave(sid)

    def _leave(self, sid: str) -> None:
        with self._changed:
            if sid in self._watching:
                self._watching.discard(sid)
                # It takes nothing any more.
                self._untaken -= 1
                self._changed.notify_all()

    def _on_taken(self, *_answer: object) -> None:
        with self._changed:
            self._untaken -= 1
            self._changed.notify_all()


class _Quiet(WSGIRequestHandler):
    """Leaves the test's own output alone."""

    def log(self, type: str, message: str, *args: object) -> None:
        pass


@contextmanager
def play(tape: Tape, **options: Any) -> Iterator[Player]:
    """Serve a tape within the block; `options` are those of `Player`."""
    with Player(tape, **options).serving() as player:
        yield player


def _refuse(_sid: str, _message: object = None) -> dict[str, Any]:
    return {
        "error": {"status": 409, "title": "A tape", "detail": "This is a tape: it can be watched, and nothing else."}
    }


def _pages(tape: Tape, line: Callable[[], int]) -> Flask:
    app = Flask(__name__, static_folder=None)
    identity = feed_id(tape.feed)

    @app.get("/")
    def page() -> str:
        return PAGE.format(id=identity)

    @app.get("/petiole/static/<path:name>")
    def static(name: str) -> Response:
        return send_from_directory(f"{web.__path__[0]}/static", name)

    @app.get(f"/petiole/tasks/{identity}")
    def task() -> Response:
        reading = tape.read(None, upto=line())
        return jsonify(
            id=identity,
            feed=tape.feed,
            cursor=str(reading.cursor.place),
            document=reading.document,
            links={"self": f"/petiole/tasks/{identity}"},
        )

    @app.get(f"/petiole/tasks/{identity}/events")
    def events() -> Response:
        # For a page whose socket is blocked.
        after, texts = request.args.get("after"), request.args.get("texts")
        cursor = None if after is None else Cursor.parse(after, texts)
        return jsonify(tape.read(cursor, upto=line(), texts=texts != "false").to_wire())

    return app
