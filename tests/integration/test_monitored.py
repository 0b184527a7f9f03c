"""Monitors that replace Engine.IO's handlers after Petiole: the resources of one client stay bounded."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import suppress

import pytest
import requests
import websocket

from tests.support.site import SERVERS, Site, serving
from tests.support.waiting import wait_until

PINGS = {"PING_INTERVAL": "0.5", "PING_TIMEOUT": "0.5"}
MONITORS = ["development", "production", "handlers", "table"]


@pytest.fixture(
    scope="module", params=[(server, monitor) for server in sorted(SERVERS) for monitor in MONITORS], ids="-".join
)
def monitored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, str]]:
    server, monitor = request.param
    settings = {**PINGS, "MONITORED": monitor}
    with serving(tmp_path_factory.mktemp(f"{server}-{monitor}"), server=server, settings=settings) as site:
        yield site, monitor
        assert not [line for line in site.log if "Traceback" in line], site.log


def open_sockets(site: Site) -> int:
    return int(requests.get(f"{site.url}/sockets", timeout=5).json()["open"])


def poll(site: Site, *packets: str) -> None:
    """A client over long polling that sends this and vanishes."""
    url = f"{site.url}/socket.io/?EIO=4&transport=polling"
    sid = json.loads(requests.get(url, timeout=5).text[1:])["sid"]
    for packet in packets:
        requests.post(f"{url}&sid={sid}", data=packet, headers={"X-Person": "ann"}, timeout=5)


def test_clients_over_long_polling_that_vanish_do_not_stay(monitored: tuple[Site, str]) -> None:
    site, _ = monitored
    wait_until(lambda: open_sockets(site) == 0, what="those of other tests are gone", timeout=15)
    for _ in range(10):
        poll(site)
        poll(site, "40/petiole,")
        poll(site, "40/own,")
    assert open_sockets(site) > 0
    # Engine.IO checks one socket after the other within its ping timeout, and after the ping's own.
    wait_until(lambda: open_sockets(site) == 0, what="all of them are closed", timeout=15)


def test_a_watch_works_and_a_page_that_answers_stays(monitored: tuple[Site, str]) -> None:
    site, _ = monitored
    feed = site.open(f"task:{uuid.uuid4()}", owner="user:ann")
    browser = site.browser("ann")
    assert browser.ask("watch", {"feed": feed})["recovered"]
    for _ in range(4):
        assert browser.socket.recv() == "2"
        browser.send("3")
    site.say(feed, "still here")
    assert browser.next("event")["data"]["message"] == "still here"
    browser.close()


def test_the_third_malformed_packet_closes(monitored: tuple[Site, str]) -> None:
    site, monitor = monitored
    if monitor == "table":
        return  # replacing the whole table removes the guard: then Engine.IO handles silent clients, as above
    browser = site.browser("ann")
    with suppress(OSError, websocket.WebSocketException):
        for _ in range(3):
            browser.send("42/petiole,{")
    assert browser.ends_within(3)
