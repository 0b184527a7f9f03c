"""The Python client against a server that doesn't behave."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import socketio
from werkzeug.serving import make_server

from petiole import client as petiole_client
from petiole.client import TaskClient
from petiole.events import ZERO_CHAIN

FEED = "task:silent"


@pytest.fixture
def silent_once() -> Iterator[tuple[str, list[Any]]]:
    """A server that doesn't answer the first watch; its address and what it was asked."""
    asked: list[Any] = []
    ended = threading.Event()
    server = socketio.Server(async_mode="threading")

    @server.on("watch", namespace="/petiole")
    def watch(_sid: str, message: Any) -> dict[str, Any]:
        asked.append(message)
        if len(asked) == 1:
            ended.wait(30)
        document = {"state": "succeeded"}
        cursor = f"0000000a.1.0.{ZERO_CHAIN}"
        return {"feed": FEED, "document": document, "events": [], "cursor": cursor, "recovered": True, "more": False}

    http = make_server("127.0.0.1", 0, socketio.WSGIApp(server), threaded=True)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}", asked
    ended.set()
    http.shutdown()
    thread.join(5)


def test_a_read_that_is_never_answered_is_asked_again(
    silent_once: tuple[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(petiole_client, "ANSWER_TIMEOUT", 1.0)
    url, asked = silent_once
    client = TaskClient(url)
    try:
        assert client.watch(FEED).wait(timeout=10)["state"] == "succeeded"
    finally:
        client.close()
    assert len(asked) == 2
