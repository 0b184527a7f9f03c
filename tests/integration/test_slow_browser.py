"""The server's buffer for a browser that stops reading is bounded, and the browser loses nothing when it reads again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from petiole.protocol.events import Event
from petiole.protocol.reader import Read, Reader, Reading, Show
from tests.support.browser import Browser
from tests.support.system import System, running

FACTS = 4000
SIZE = 4000


@pytest.fixture
def system(tmp_path: Path) -> Iterator[System]:
    """A journal that keeps more than fits into the socket's buffers."""
    settings = {"PETIOLE_WINDOW": "50", "PETIOLE_FACTS_KEPT": "10000", "PETIOLE_BYTES_KEPT": str(64 * 1024 * 1024)}
    with running(tmp_path, settings=settings) as system:
        yield system


def watch(browser: Browser, feed: str, cursor: str | None = None) -> None:
    message = {"feed": feed} | ({"cursor": cursor} if cursor else {})
    browser.send("42/petiole,1" + json.dumps(["watch", message]))


def heard(browser: Browser) -> tuple[str, Any]:
    """The next event from the server, or the answer to a watch."""
    text = browser.receive()
    if text.startswith("43/petiole,1"):
        return "answer", json.loads(text.removeprefix("43/petiole,1"))[0]
    name, payload = json.loads(text.removeprefix("42/petiole,"))
    return name, payload


def test_a_stopped_browser_is_left_out_and_catches_up_from_the_journal(system: System) -> None:
    session = system.session("ann")
    accepted = session.post(f"{system.url}/start/say_much", json={"args": [FACTS, SIZE]}, timeout=5).json()
    browser = Browser(system.web_port, "ann")
    reader = Reader(accepted["feed"])
    watch(browser, accepted["feed"])
    # It doesn't read while another one follows the task to its end.
    other = system.client("ann").watch(accepted["feed"])
    assert other.wait(timeout=60)["state"] == "succeeded"
    assert other.receipt.complete

    rung, shown = 0, []
    while reader.document.get("state") != "succeeded" or reader.reading:
        kind, payload = heard(browser)
        if kind == "event":
            rung += 1
            actions = reader.offer(Event.from_wire(payload))
        else:
            actions = reader.answer(Reading.from_wire(payload))
        for action in actions:
            if isinstance(action, Show) and action.event.kind == "custom":
                shown.append(action.event.data["data"]["number"])
            elif isinstance(action, Read):
                watch(browser, accepted["feed"], str(action.cursor))
    browser.close()
    assert shown == list(range(FACTS))
    assert reader.complete
    assert reader.shown == other.receipt.facts
    assert rung < FACTS
