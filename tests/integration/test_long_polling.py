"""Long polling by hand: more packets at once than python-engineio accepts in one payload, in both directions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
from engineio.payload import Payload

from petiole.protocol.events import Draft, task_feed
from tests.support.site import SERVERS, Site, serving
from tests.support.waiting import wait_until

SEPARATOR = "\x1e"
EVENT = "2/petiole,"
ANSWER = "3/petiole,"


@dataclass
class Poller:
    """An Engine.IO connection over long polling that sends and polls only on request."""

    site: Site
    person: str = "ann"
    session: requests.Session = field(default_factory=requests.Session)
    url: str = ""

    def __post_init__(self) -> None:
        self.session.headers["X-Person"] = self.person
        base = f"{self.site.url}/socket.io/?EIO=4&transport=polling"
        opened = self.session.get(base, timeout=10).text
        self.url = f"{base}&sid={json.loads(opened[1:])['sid']}"
        self.post("40/petiole,")
        assert self.poll()[0].startswith("0/petiole,")

    def post(self, *packets: str) -> int:
        return self.session.post(self.url, data=SEPARATOR.join(packets), timeout=10).status_code

    def poll(self) -> list[str]:
        """The packets of one request, read like Python's client; pings are answered."""
        response = self.session.get(self.url, timeout=30)
        response.raise_for_status()
        packets = Payload(encoded_payload=response.text).packets
        if any(packet.packet_type == 2 for packet in packets):
            self.post("3")
        return [packet.data for packet in packets if packet.packet_type == 4]

    def watch(self, feed: str) -> None:
        self.post(f'4{EVENT}1["watch",{{"feed":"{feed}"}}]')
        wait_until(lambda: any(packet.startswith(f"{ANSWER}1") for packet in self.poll()), what="the watch is answered")


@pytest.fixture(scope="module", params=SERVERS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(tmp_path_factory.mktemp("polling"), server=request.param) as site:
        yield site


def lines(packets: list[str]) -> list[Any]:
    events = [json.loads(packet.removeprefix(EVENT))[1] for packet in packets if packet.startswith(EVENT)]
    return [event["data"]["message"] for event in events if event["kind"] == "log"]


def test_python_engineio_takes_no_more_than_sixteen() -> None:
    """The negative control: without it the tests below fail."""
    Payload(encoded_payload=SEPARATOR.join(["6"] * 16))
    with pytest.raises(ValueError, match="Too many packets"):
        Payload(encoded_payload=SEPARATOR.join(["6"] * 17))


def test_a_page_that_asks_for_forty_feeds_in_one_request_is_answered_for_each(site: Site) -> None:
    feeds = [site.open(task_feed(f"many-{number}")) for number in range(40)]
    poller = Poller(site)
    asked = [f'4{EVENT}{number}["watch",{{"feed":"{feed}"}}]' for number, feed in enumerate(feeds)]
    assert poller.post(*asked) == 200
    answered: dict[int, Any] = {}

    def all_answered() -> bool:
        for packet in poller.poll():
            if packet.startswith(ANSWER):  # an event may come in between
                number, _, rest = packet.removeprefix(ANSWER).partition("[")
                answered[int(number)] = json.loads("[" + rest)[0]
        return len(answered) == len(feeds)

    wait_until(all_answered, what="every call has its answer")
    assert [answered[number]["feed"] for number in range(len(feeds))] == feeds


def test_what_waits_for_a_slow_client_comes_in_parts_that_python_takes(site: Site) -> None:
    feed = site.open(task_feed("slow"))
    poller, other = Poller(site), Poller(site)
    for each in (poller, other):
        each.watch(feed)
    said = [str(number) for number in range(100)]
    for message in said:
        site.journal.append(feed, Draft("log", data={"level": "info", "message": message}))
    heard: dict[str, list[Any]] = {"other": [], "poller": []}

    def heard_all(name: str, from_: Poller) -> bool:
        heard[name].extend(lines(from_.poll()))
        return len(heard[name]) >= len(said)

    # Once the one has received the last of them, all of them wait for the other.
    wait_until(lambda: heard_all("other", other), what="the one that retries at once has received all")
    wait_until(lambda: heard_all("poller", poller), what="the slow one has received all")
    assert heard == {"other": said, "poller": said}


def test_more_packets_than_any_page_sends_are_malformed(site: Site) -> None:
    poller = Poller(site)
    for _ in range(3):
        poller.post(*['42/petiole,["watch",{}]'] * 600)
    assert poller.post("3") == 400
    assert not site.said("Traceback")
