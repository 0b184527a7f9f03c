"""Access that isn't or is no longer allowed: forged cursors, a right that has ended, pages of another site."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from typing import Any

import requests
import websocket

from chaos.light import LightBrowser, Line
from chaos.scenarios.scenario import Load, Scenario
from chaos.system import System
from chaos.web import RIGHTS_ENDED
from petiole.protocol.events import Cursor, feed_id
from tests.support.waiting import wait_until

ANSWERED_WITHIN = 1.0
STOPS_WITHIN = 5.0
FOREIGN = "http://elsewhere.example"


def forge_cursors(system: System, _random: random.Random) -> str:
    """Read from forged cursors, over both transports."""
    mine, theirs = (system.start_task("say", task, 40, 0.02, person=f"person {task}") for task in (1, 2))
    session = requests.Session()
    session.headers["X-Person"] = "person 1"
    stranger = requests.Session()
    stranger.headers["X-Person"] = "person 2"

    def ended(who: requests.Session, task: dict[str, Any]) -> bool:
        found = who.get(f"{system.url()}/petiole/tasks/{task['id']}", timeout=10).json()
        return bool(found["document"]["state"] == "succeeded")

    wait_until(lambda: ended(session, mine) and ended(stranger, theirs), what="both tasks have ended", timeout=30)
    own = Cursor.parse(_cursor(session, system, mine))
    other = Cursor.parse(_cursor(stranger, system, theirs))
    forged = {
        "in the future": f"{own.epoch}.{own.seq + 5}.{own.facts + 5}.{own.chain}",
        "far in the future": f"{own.epoch}.{2**53 - 1}.{2**53 - 1}.{own.chain}",
        "negative": f"{own.epoch}.-1.-1.{own.chain}",
        "2⁶³": f"{own.epoch}.{2**63}.{2**63}.{own.chain}",
        "of another feed": str(other),
        "another chain": f"{own.epoch}.{own.seq}.{own.facts}.{'f' * 16}",
        "another chain, earlier": f"{own.epoch}.5.5.{'f' * 16}",
        "another epoch": f"{'0' * 8}.{own.seq}.{own.facts}.{own.chain}",
        "no cursor at all": "'; FLUSHALL; --",
        "very long": "9" * 100_000,
    }
    line = Line(system.url(1), headers={"X-Person": "person 1"})
    answers: list[tuple[str, str, float, Any]] = []
    for name, cursor in forged.items():
        began = time.monotonic()
        answer = line.call("watch", {"feed": mine["feed"], "cursor": cursor})
        answers.append(("Socket.IO", name, time.monotonic() - began, answer))
        if len(cursor) < 4000:  # a longer one doesn't fit into the request line
            began = time.monotonic()
            response = session.get(
                f"{system.url()}/petiole/tasks/{mine['id']}/events", params={"after": cursor}, timeout=10
            )
            answers.append(("HTTP", name, time.monotonic() - began, response.json()))
    for asked in (None, str(other)):
        message = {"feed": theirs["feed"]} | ({} if asked is None else {"cursor": asked})
        answers.append(("Socket.IO", "the other's feed", 0.0, line.call("watch", message)))
        response = session.get(
            f"{system.url()}/petiole/tasks/{theirs['id']}/events", params={"after": asked}, timeout=10
        )
        answers.append(("HTTP", "the other's feed", 0.0, response.json()))
    line.close()
    system.noted["answers"] = answers
    return f"{len(forged)} cursors over two transports, slowest answer {max(took for _, _, took, _ in answers) * 1000:.0f} ms"


def _cursor(session: requests.Session, system: System, task: dict[str, Any]) -> str:
    return str(session.get(f"{system.url()}/petiole/tasks/{task['id']}", timeout=10).json()["cursor"])


def nothing_is_given(system: System) -> list[str]:
    found = []
    for transport, name, took, answer in system.noted["answers"]:
        if took > ANSWERED_WITHIN:
            found.append(f"{transport}, {name}: answered after {took:.1f} s")
        if answer.get("recovered") or answer.get("events"):
            found.append(f"I9 {transport}, {name}: accepted as a valid cursor, {len(answer.get('events', ()))} events")
        if name == "the other's feed" and "document" in answer:
            found.append(f"I10 {transport}: the document of another user's task")
    return found


def come_from_elsewhere(system: System, _random: random.Random) -> str:
    """Make the requests that a page of another site could make with this site's cookies."""
    accepted = system.start_task("say", 0, 100, 0.05)
    url = system.url()
    done: dict[str, str] = {}
    for name, origin in (("foreign", FOREIGN), ("null", "null"), ("own", url)):
        headers = {"Origin": origin, "X-Person": "somebody"}
        try:
            line = Line(url, headers=headers)
            done[f"WebSocket {name}"] = "taken"
            line.close()
        except (OSError, websocket.WebSocketException) as error:
            done[f"WebSocket {name}"] = f"refused ({getattr(error, 'status_code', error)})"
        polling = requests.get(f"{url}/socket.io/?EIO=4&transport=polling", headers=headers, timeout=10)
        done[f"polling {name}"] = "taken" if polling.ok else f"refused ({polling.status_code})"
    cancel = f"{url}/petiole/tasks/{accepted['id']}/cancel"
    for name, origin in (("foreign", FOREIGN), ("null", "null"), ("own", url)):
        response = requests.post(cancel, headers={"Origin": origin, "X-Person": "somebody"}, timeout=10)
        done[f"cancel {name}"] = "taken" if response.ok else f"refused ({response.status_code})"
    system.noted["done"] = done
    return ", ".join(f"{name} {result}" for name, result in done.items())


def only_own_pages(system: System) -> list[str]:
    return [
        f"I10 {name}: {result}"
        for name, result in system.noted["done"].items()
        if (result == "taken") != name.endswith("own")
    ]


def end_a_right(system: System, _random: random.Random) -> str:
    """Let a guest follow another user's tasks, over both transports, and revoke the right in mid-stream."""
    feeds = system.browsers[0].views
    lights = [
        LightBrowser(f"guest {task}", system.url(task), task, _from_start(view.feed), person="guest")
        for task, view in feeds.items()
    ]
    streams = [Stream(f"{system.url(task)}/petiole/tasks/{feed_id(view.feed)}/events") for task, view in feeds.items()]
    try:
        wait_until(
            lambda: all(len(light.entries) > 5 for light in lights) and all(stream.at for stream in streams),
            what="the guest follows every task",
            timeout=20,
        )
        (system.directory / RIGHTS_ENDED).touch()
        ended = time.monotonic()
        time.sleep(2 * STOPS_WITHIN)
        last = {light.name: light.entries[-1]["at"] - ended for light in lights}
        last |= {f"stream {number}": stream.at[-1] - ended for number, stream in enumerate(streams)}
        system.noted["last"] = last
        system.noted["told"] = [light.refused_at is not None for light in lights] + [
            stream.ended.is_set() for stream in streams
        ]
    finally:
        for light in lights:
            light.close()
        for stream in streams:
            stream.close()
    return f"{len(lights)} guests over Socket.IO and {len(streams)} over SSE, the last event after {max(last.values()):.1f} s"


def _from_start(feed: str) -> dict[str, Any]:
    return {"feed": feed, "cursor": None, "document": {}}


class Stream:
    """Reads a task's events as an `EventSource` does; `at` has the arrival time of each line."""

    def __init__(self, url: str) -> None:
        self.at: list[float] = []
        self.ended = threading.Event()
        self._response = requests.get(
            url, headers={"X-Person": "guest", "Accept": "text/event-stream"}, stream=True, timeout=20
        )
        self._response.raise_for_status()
        threading.Thread(target=self._read, daemon=True).start()

    def close(self) -> None:
        self._response.close()

    def _read(self) -> None:
        with suppress(requests.RequestException, AttributeError, ValueError):
            for line in self._response.iter_lines():
                if line.startswith(b"data:"):
                    self.at.append(time.monotonic())
        self.ended.set()


def stopped_in_time(system: System) -> list[str]:
    found = [
        f"I10 {name} was shown an event {after:.1f} s after its right had ended"
        for name, after in system.noted["last"].items()
        if after > STOPS_WITHIN
    ]
    untold = system.noted["told"].count(False)
    return found + ([f"{untold} watches weren't closed"] if untold else [])


SCENARIOS = (
    Scenario(
        34,
        "forged cursors",
        forge_cursors,
        "trust",
        required="bounded work, nothing foreign",
        check=nothing_is_given,
        load=None,
    ),
    Scenario(
        35,
        "a right ends in mid-stream",
        end_a_right,
        "rights",
        required="the stream stops within 5 s on both transports",
        check=stopped_in_time,
        load=Load(tasks=4, facts=300, interval=0.05, browsers=2),
    ),
    Scenario(
        37,
        "pages of another site",
        come_from_elsewhere,
        "origin",
        required="refused on both transports",
        check=only_own_pages,
        load=None,
    ),
)
