"""Browsers by hand: Socket.IO over one WebSocket and one thread each, so that hundreds fit into one process."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import websocket

from chaos.browsers import entry_of, reader_without, text_entry_of
from chaos.checker import Seen
from petiole.protocol.events import Cursor, Event
from petiole.protocol.reader import Action, Read, Reading, Reset, Show
from petiole.protocol.receipts import text_receipts
from petiole.protocol.states import is_terminal

TIMEOUT = 20.0


class Line:
    """One Socket.IO connection to Petiole's namespace.

    Raises:
        websocket.WebSocketException, OSError: it is refused or closed.
    """

    def __init__(self, url: str, *, headers: Mapping[str, str] | None = None, buffer: int | None = None) -> None:
        options = [] if buffer is None else [(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)]
        headers = dict(headers or {})
        origin = headers.pop("Origin", None)
        self._socket = websocket.create_connection(
            f"{url.replace('http', 'ws', 1)}/socket.io/?EIO=4&transport=websocket",
            header=headers,
            origin=origin,
            suppress_origin=origin is None,
            timeout=TIMEOUT,
            sockopt=options,
            http_no_proxy=["*"],
        )
        self._asked = 0
        self._take("0{")
        self._socket.send("40/petiole,")
        self._take("40/petiole,")

    def _take(self, beginning: str) -> None:
        text = self.receive()
        if not text.startswith(beginning):
            self.close()
            raise websocket.WebSocketException(f"The server answered {text[:80]!r}.")

    def receive(self) -> str:
        """Return the next packet that isn't a ping."""
        while (text := str(self._socket.recv())) == "2":
            self._socket.send("3")
        if not text:
            raise websocket.WebSocketConnectionClosedException("The server has closed the connection.")
        return text

    def send(self, name: str, message: Any) -> int:
        """Send a message and return the number of its acknowledgement."""
        self._asked += 1
        self._socket.send(f"42/petiole,{self._asked}" + json.dumps([name, message]))
        return self._asked

    def call(self, name: str, message: Any) -> Any:
        """Send a message and return its answer; events before it are skipped."""
        answer = f"43/petiole,{self.send(name, message)}["
        while not (text := self.receive()).startswith(answer):
            pass
        return json.loads(text[len(answer) - 1 :])[0]

    def close(self) -> None:
        cut(self._socket)


def cut(connection: websocket.WebSocket) -> None:
    """Drop a connection without closing it cleanly, also for a thread that is reading from it."""
    with suppress(OSError, AttributeError):
        connection.sock.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
    with suppress(OSError, websocket.WebSocketException):
        connection.shutdown()  # type: ignore[no-untyped-call]


class LightBrowser:
    """Follows one task and reconnects by itself. `pause` stops it from reading, with its connection open.

    `elsewhere`: the address of another web process; it alternates between the two, as behind a load balancer.
    """

    def __init__(
        self,
        name: str,
        url: str,
        task: int,
        accepted: Mapping[str, Any],
        *,
        without: str = "",
        buffer: int | None = None,
        elsewhere: str | None = None,
        person: str = "somebody",
    ) -> None:
        self.name = name
        self.url = url
        self.person = person
        self.task = task
        self.feed = accepted["feed"]
        self.entries: list[dict[str, Any]] = []
        self.answered_at: list[float] = []
        self.lost_at: list[float] = []
        self.refused_at: float | None = None
        self.delays: list[tuple[float, float]] = []
        self.done = threading.Event()
        self._buffer = buffer
        self._elsewhere = elsewhere
        # After how many seconds to reconnect, if a web process that ends has said so.
        self._after: float | None = None
        kind = reader_without(without)
        cursor = accepted["cursor"]
        document = accepted["document"]
        self.reader = kind(self.feed, cursor=None if cursor is None else Cursor.parse(cursor), document=document)
        # Its document at each cursor, if it is the oracle of others.
        self.documents: dict[str, dict[str, Any]] | None = None
        self._present = threading.Event()
        self._present.set()
        self._reading = threading.Event()
        self._reading.set()
        self._closed = threading.Event()
        self._line: Line | None = None
        self._awaited = 0
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()

    def pause(self) -> None:
        self._reading.clear()

    def resume(self) -> None:
        self._reading.set()

    def leave(self) -> None:
        """Lose the connection, until `come_back`."""
        self._present.clear()
        if self._line is not None:
            self._line.close()

    def come_back(self) -> None:
        self._present.set()

    def close(self) -> None:
        self._closed.set()
        self._reading.set()
        self._present.set()
        if self._line is not None:
            self._line.close()
        self._thread.join(TIMEOUT)

    def finish(self) -> None:
        """Record its state, as a browser does at the end."""
        if self.done.is_set():
            receipts = text_receipts(self.reader.document, self.reader.texts).values()
            complete = self.reader.complete and all(text.complete for text in receipts)
            self._write({"end": self.reader.document.get("state"), "complete": complete})
        else:
            state = "reading" if self.reader.reading else "following"
            self._write({"stuck": f"{self.reader.cursor}, {state}"})

    def seen(self) -> Seen:
        return Seen(self.name, self.feed, self.task, list(self.entries))

    def _live(self) -> None:
        pause = 0.1
        while not self._closed.is_set():
            self._present.wait()
            try:
                self._line = Line(self.url, headers={"X-Person": self.person}, buffer=self._buffer)
                self._act(self.reader.start(), self._line)
                while not self._closed.is_set():
                    self._reading.wait()
                    self._take(self._line.receive(), self._line)
                    pause = 0.1
            except (OSError, websocket.WebSocketException):
                if self._line is not None:
                    self._line.close()
                    self._line = None
                    self.lost_at.append(time.monotonic())
                after, self._after = self._after, None
                # Full jitter, as in the browser's client.
                self._closed.wait(random.uniform(0, pause) if after is None else after)
                pause = min(2 * pause, 4.0)
                if self._elsewhere is not None:
                    self.url, self._elsewhere = self._elsewhere, self.url

    def _take(self, text: str, line: Line) -> None:
        answer = f"43/petiole,{self._awaited}["
        if text.startswith(answer):
            wire = json.loads(text[len(answer) - 1 :])[0]
            if "error" in wire:
                time.sleep(0.5)
                self._act(self.reader.start(), line)
                return
            self.answered_at.append(time.monotonic())
            reading = Reading.from_wire(wire)
            self._act(self.reader.answer(reading), line, reading)
        elif text.startswith("42/petiole,["):
            name, payload = json.loads(text.removeprefix("42/petiole,"))
            if name == "reconnect":
                self._after = float(payload["after"])
                return
            if payload["feed"] != self.feed:
                return
            if name == "refused":
                self.refused_at = time.monotonic()
                return
            if name == "event":
                self.delays.append((time.monotonic(), time.time() * 1000 - payload["at"]))
                self._act(self.reader.offer(Event.from_wire(payload)), line)
            else:
                self._awaited = 0
                reading = Reading.from_wire(payload)
                self._act(self.reader.answer(reading), line, reading)

    def _act(self, actions: list[Action], line: Line, reading: Reading | None = None) -> None:
        for action in actions:
            if (entry := text_entry_of(action)) is not None:
                self._write(entry)
            match action:
                case Show(event):
                    self._write(entry_of(event))
                case Reset(cursor):
                    # The reader may already have folded its buffer.
                    self._write({"reset": str(cursor), "document": reading.document if reading else None})
                case Read(cursor):
                    asked = {"feed": self.feed}
                    if cursor is not None:
                        asked |= {"cursor": str(cursor.place), "texts": str(cursor.texts)}
                    self._awaited = line.send("watch", asked)
        if self.documents is not None:
            self.documents[str(self.reader.cursor)] = self.reader.document
        if is_terminal(self.reader.document.get("state")) and not self.reader.reading:
            self.done.set()

    def _write(self, entry: dict[str, Any]) -> None:
        self.entries.append({**entry, "at": time.monotonic()})
