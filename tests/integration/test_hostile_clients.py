"""Hostile clients against a real server: the memory, work, log lines and output that one can cause are bounded."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket

from petiole.protocol.events import Draft
from tests.support.browser import Browser
from tests.support.site import SERVERS, Site, serving
from tests.support.waiting import wait_until

MEGABYTE = 1024 * 1024
SETTINGS = {
    "PETIOLE_CONNECTIONS_PER_OWNER": "5",
    "PETIOLE_CALLS_BURST": "20",
    "PETIOLE_CALLS_PER_SECOND": "5",
    "PETIOLE_RIGHTS_CHECK": "0.5",
}
MALFORMED = [
    "",
    "x",
    "9",
    "²",
    "0{}",
    "5",
    "4",
    "4x",
    "4" + "[" * 100_000,
    "b!!!!",
    "44/petiole,{}",
    "48/petiole,",
    "42/petiole,{",
    "42/petiole,{}",
    "42/petiole,[]",
    "42/petiole,[7]",
    "42/petiole,[[]]",
    '42/petiole,["connect"]',
    '42/petiole,["disconnect"]',
    '42/own,["disconnect"]',
    '42/petiole,["unknown"]',
    '42/petiole,["watch",{},1]',
    "42/petiole," + "[" * 100_000,
    f'42/petiole,{"1" * 200}["watch"]',
    "43/petiole,1{}",
    "40/" + "n" * 1000 + ",",
    '451-/petiole,["watch",{"_placeholder":true,"num":0}]',
    '45999999999-/own,["echo",{"_placeholder":true,"num":0}]',
    '450-/own,["echo"]',
    '451-/nowhere,["echo",{"_placeholder":true,"num":0}]',
    b"\x00\x01\x02",
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """gunicorn with gevent and gevent-websocket."""
    with serving(tmp_path_factory.mktemp("gevent"), server="gevent", settings=SETTINGS) as site:
        yield site


@pytest.fixture(scope="module")
def threaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """gunicorn with threads and simple-websocket."""
    with serving(tmp_path_factory.mktemp("threads"), server="threads", settings=SETTINGS) as site:
        yield site


@pytest.fixture(params=sorted(SERVERS))
def each(request: pytest.FixtureRequest) -> Site:
    site: Site = request.getfixturevalue("site" if request.param == "gevent" else "threaded")
    return site


def somebody() -> str:
    return f"p{uuid.uuid4().hex[:8]}"


def feed_of(site: Site, person: str) -> str:
    return site.open(f"task:{uuid.uuid4()}", owner=f"user:{person}")


def said_since(site: Site, lines: int) -> list[str]:
    """The server's new log lines; the one about a closed connection may come late, from the previous test."""
    return [line for line in site.log[lines:] if "connection_closed" not in line]


def is_served(site: Site) -> None:
    """An honest page still gets its answer."""
    person = somebody()
    browser = site.browser(person)
    assert browser.ask("watch", {"feed": feed_of(site, person)})["recovered"]
    browser.close()


@pytest.mark.parametrize("packet", MALFORMED, ids=lambda packet: repr(packet[:24]))
def test_the_third_malformed_packet_closes_and_costs_at_most_a_line(site: Site, packet: str | bytes) -> None:
    lines = len(site.log)
    browser = site.browser(somebody())
    browser.send("40/own,")
    assert browser.receive().startswith("40/own,")
    for _ in range(2):
        browser.send(packet)
    assert browser.ask("unwatch", {"feed": "task:1"}) == {}
    with suppress(OSError, websocket.WebSocketException):
        browser.send(packet)
    assert browser.ends_within(3)
    # Lines of earlier tests may come late, one for each of them.
    said = site.log[lines:]
    assert len(said) <= len(MALFORMED), said
    assert all("connection_closed" in line for line in said), said


@pytest.mark.parametrize("packet", ["", "4x", "42/petiole,{", b"\x00"])
def test_the_third_malformed_packet_closes_a_threaded_servers_connection(threaded: Site, packet: str | bytes) -> None:
    test_the_third_malformed_packet_closes_and_costs_at_most_a_line(threaded, packet)


def test_log_lines_are_limited_for_the_whole_process(site: Site) -> None:
    lines = len(site.log)
    for _ in range(40):
        browser = site.browser(None, join=False)
        for _ in range(3):
            browser.send("4x")
        assert browser.ends_within(3)
    assert len(site.log) - lines <= 15


def test_a_message_in_endless_fragments_is_cut_at_the_limit(each: Site) -> None:
    before = each.resident()
    browser = each.browser(join=False)
    part = b"x" * 500_000
    frame = websocket.ABNF
    with suppress(OSError):
        browser.socket.send_frame(frame(0, 0, 0, 0, frame.OPCODE_BINARY, 1, part))
        for _ in range(100):
            browser.socket.send_frame(frame(0, 0, 0, 0, frame.OPCODE_CONT, 1, part))
    assert browser.ends_within(3)
    assert each.resident() - before < 10 * MEGABYTE
    is_served(each)


def test_a_frame_that_declares_more_than_the_limit_is_not_waited_for(each: Site) -> None:
    browser = each.browser(join=False)
    # 2^40 bytes, masked; a little more than a megabyte of them is sent.
    with suppress(OSError):
        browser.socket.sock.sendall(b"\x82\xff" + (2**40).to_bytes(8, "big") + b"mask" + b"x" * 1_100_000)
    assert browser.ends_within(3)


def test_compression_is_not_taken(each: Site) -> None:
    offer = {"Sec-WebSocket-Extensions": "permessage-deflate"}
    browser = each.browser(headers=offer)
    assert "sec-websocket-extensions" not in browser.socket.headers
    browser.close()


def test_attachments_of_an_application_arrive(each: Site) -> None:
    browser = each.browser(somebody())
    browser.send("40/own,")
    assert browser.receive().startswith("40/own,")
    browser.send('452-/own,7["echo",{"_placeholder":true,"num":1},"text",{"_placeholder":true,"num":0}]')
    browser.send(b"first" * 100_000)
    browser.send(b"second")
    head = browser.receive()
    assert head.startswith("462-/own,7[")
    assert json.loads(head.removeprefix("462-/own,7"))[1] == "text"
    assert {browser.receive(), browser.receive()} == {b"first" * 100_000, b"second"}
    browser.close()


def test_who_joins_nothing_or_owes_attachments_is_closed_within_10_s(each: Site) -> None:
    before = each.resident()
    idle = [each.browser(join=False) for _ in range(20)]
    # Each has 10 s from its own start, and a busy machine takes seconds to open twenty.
    began = time.monotonic()
    for browser in idle[:5]:
        browser.send("40/nowhere,")
        assert browser.receive().startswith("44/nowhere,")
    for browser in idle[5:10]:
        browser.send("40/petiole,")
        browser.send("41/petiole,")
    url = f"{each.url}/socket.io/?EIO=4&transport=polling"
    sid = json.loads(requests.get(url, timeout=5).text[1:])["sid"]
    bombs = []
    for _ in range(30):
        bombs.append(bomb := each.browser(None, join=False))
        bomb.send("40/own,")
        assert bomb.receive().startswith("40/own,")
        with suppress(OSError, websocket.WebSocketException):
            bomb.send('4532-/own,["echo"]')
            for _ in range(6):
                bomb.send(b"x" * 900_000)
    honest = each.browser(somebody())
    is_served(each)
    assert each.resident() - before < 50 * MEGABYTE
    for browser in idle:
        assert browser.ends_within(max(began + 11 - time.monotonic(), 1.0))
    for bomb in bombs:
        assert bomb.ends_within(5)
    # It came after the others, so perhaps a sweep later; a pong doesn't join a namespace.
    wait_until(
        lambda: requests.post(f"{url}&sid={sid}", data="3", timeout=5).status_code == 400,
        timeout=max(began + 11.5 - time.monotonic(), 1.0),
        what="the polling connection is closed",
    )
    assert honest.ask("unwatch", {"feed": "task:1"}) == {}
    honest.close()


@pytest.mark.parametrize(
    ("body", "headers"),
    [(b"\xff\xfe", {}), (b"x", {}), (b"9", {}), (b"4x\x1e" * 50, {}), (b"b!!!", {}), (b"4" + b"[" * 100_000, {})],
    ids=["no text", "no type", "unknown type", "too many", "no base64", "deep"],
)
def test_a_malformed_body_is_counted_over_polling(site: Site, body: bytes, headers: dict[str, str]) -> None:
    lines = len(site.log)
    url = f"{site.url}/socket.io/?EIO=4&transport=polling"
    sid = json.loads(requests.get(url, timeout=5).text[1:])["sid"]
    statuses = [requests.post(f"{url}&sid={sid}", data=body, timeout=5).status_code for _ in range(4)]
    assert statuses[-1] == 400
    assert len(site.log) - lines <= 2, site.log[lines:]


def test_a_body_over_the_limit_is_refused_at_once(each: Site) -> None:
    url = f"{each.url}/socket.io/?EIO=4&transport=polling"
    sid = json.loads(requests.get(url, timeout=5).text[1:])["sid"]
    began = time.monotonic()
    answer = requests.post(f"{url}&sid={sid}", data=b"4" * 1_100_000, timeout=10)
    assert answer.status_code == 400
    assert time.monotonic() - began < 3
    assert requests.get(f"{url}&sid={sid}", timeout=5).status_code == 400


def test_who_asks_too_much_is_told_when_to_come_back_and_then_sent_away(site: Site) -> None:
    browser = site.browser(somebody())
    answers = [browser.ask("unwatch", {"feed": "task:1"}) for _ in range(25)]
    assert answers[:20] == [{}] * 20
    problem = answers[-1]["error"]
    assert problem["status"] == 429
    assert problem["retry_after"] >= 1
    browser.send('42/petiole,["unwatch",{"feed":"task:1"}]')
    with suppress(OSError, websocket.WebSocketException):
        for _ in range(60):
            browser.send('42/petiole,["unwatch",{"feed":"task:1"}]')
    assert browser.ends_within(3)


def test_a_page_that_pauses_may_ask_again(site: Site) -> None:
    browser = site.browser(somebody())
    while "error" not in (answer := browser.ask("unwatch", {"feed": "task:1"})):
        pass
    time.sleep(answer["error"]["retry_after"])  # requested by the server
    assert browser.ask("unwatch", {"feed": "task:1"}) == {}
    browser.close()


def test_a_person_has_so_many_pages_and_may_open_another_when_one_is_closed(site: Site) -> None:
    person = somebody()
    pages = [site.browser(person) for _ in range(5)]
    assert all(page.joined.startswith("40/petiole,") for page in pages)
    more = site.browser(person)
    assert more.joined.startswith("44/petiole,")
    assert json.loads(more.joined.removeprefix("44/petiole,"))["data"]["status"] == 429
    assert site.browser(somebody()).joined.startswith("40/petiole,")
    pages.pop().close()
    wait_until(
        lambda: site.browser(person).joined.startswith("40/petiole,"), timeout=5, what="another page is accepted"
    )


def test_joining_over_and_over_is_bounded(site: Site) -> None:
    browser = site.browser(somebody())
    with suppress(OSError, websocket.WebSocketException):
        for _ in range(40):
            browser.send("40/nowhere,")
    assert browser.ends_within(3)


@pytest.mark.parametrize(
    "message",
    [None, 7, "x" * 900_000, [], {"feed": "f" * 900_000}, {"feed": ["task:1"]}, {"feed": {"_placeholder": True, "num": 0}},
     {"feed": "task:\ud800"}, {"feed": "\x00"}, {"feed": ""}, {"feed": 0}, {"feed": False}, {"feed": "task:1\n"}],
    ids=lambda message: repr(message)[:24],
)  # fmt: skip
@pytest.mark.parametrize("call", ["watch", "unwatch", "cancel"])
def test_a_hostile_shape_gets_a_bounded_answer(site: Site, call: str, message: Any) -> None:
    lines = len(site.log)
    browser = site.browser(somebody())
    answer = browser.ask(call, message)
    assert answer["error"]["status"] == 400
    assert len(json.dumps(answer)) < 500
    browser.close()
    assert said_since(site, lines) == []


@pytest.mark.parametrize(
    "nested", ['{"feed":' + "[" * 900 + "]" * 900 + "}", '{"feed":"task:1","cursor":' + "9" * 200 + "}"]
)
def test_nesting_and_long_numbers_are_no_trouble(site: Site, nested: str) -> None:
    lines = len(site.log)
    browser = site.browser(somebody())
    browser.send(f'42/petiole,99["watch",{nested}]')
    assert browser.ask("unwatch", {"feed": "task:1"}) == {}
    browser.close()
    assert said_since(site, lines) == []


def test_a_room_can_be_neither_foreign_nor_everybodys(site: Site) -> None:
    ann, mallory = somebody(), somebody()
    feed = feed_of(site, ann)
    page, other = site.browser(ann), site.browser(mallory)
    page.ask("watch", {"feed": feed})
    sid = json.loads(page.joined.removeprefix("40/petiole,"))["sid"]
    for room in (feed, sid, "", None, 0, [feed], "/petiole", "*", f"{feed} ", feed.upper()):
        assert "error" in other.ask("watch", {"feed": room})
    site.journal.append(feed, Draft("log", data={"level": "info", "message": "secret"}))
    assert page.next("event")["feed"] == feed
    other.send('42/petiole,99["unwatch",{"feed":"task:1"}]')
    assert other.receive() == "43/petiole,99[{}]"


@pytest.mark.parametrize("numbers", [(2**53 - 1, 2**53 - 1), (0, 0), (1, 2**53 - 1), (5, 2)])
def test_a_forged_cursor_of_the_right_epoch_reads_this_feed_only(site: Site, numbers: tuple[int, int]) -> None:
    person = somebody()
    feed = feed_of(site, person)
    browser = site.browser(person)
    epoch = browser.ask("watch", {"feed": feed})["cursor"].split(".")[0]
    reading = browser.ask("watch", {"feed": feed, "cursor": f"{epoch}.{numbers[0]}.{numbers[1]}.{'0' * 16}"})
    assert reading["feed"] == feed
    assert len(reading["events"]) <= 1
    assert reading["recovered"] is (numbers == (0, 0))


def test_another_feeds_cursor_shows_nothing_of_that_feed(site: Site) -> None:
    ann, mallory = somebody(), somebody()
    foreign, own = feed_of(site, ann), feed_of(site, mallory)
    page, other = site.browser(ann), site.browser(mallory)
    cursor = page.ask("watch", {"feed": foreign})["cursor"]
    reading = other.ask("watch", {"feed": own, "cursor": cursor})
    assert (reading["feed"], reading["recovered"], reading["events"]) == (own, False, [])
    assert foreign not in json.dumps(reading)


@pytest.mark.parametrize(
    "cursor", [f"ffffffff.{2**63}.1.{'0' * 16}", f"ffffffff.-1.1.{'0' * 16}", "x" * 500_000, [], {}, 0]
)
def test_a_cursor_that_is_none_is_refused(site: Site, cursor: Any) -> None:
    person = somebody()
    browser = site.browser(person)
    answer = browser.ask("watch", {"feed": feed_of(site, person), "cursor": cursor})
    assert answer["error"]["status"] == 400
    assert len(json.dumps(answer)) < 500


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "null", "http://127.0.0.1", "http://localhost:{port}"])
def test_a_foreign_origin_is_refused_on_both_transports(each: Site, origin: str) -> None:
    origin = origin.format(port=each.port)
    cookies = requests.get(each.url, timeout=5).cookies
    url = f"{each.url}/socket.io/?EIO=4&transport=polling"
    assert requests.get(url, cookies=cookies, headers={"Origin": origin}, timeout=5).status_code == 400
    own = requests.get(url, cookies=cookies, headers={"Origin": each.url}, timeout=5)
    assert own.status_code == 200
    sid = json.loads(own.text[1:])["sid"]
    assert requests.post(f"{url}&sid={sid}", data="40", headers={"Origin": origin}, timeout=5).status_code == 400
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    address = f"ws://127.0.0.1:{each.port}/socket.io/?EIO=4&transport=websocket"
    with suppress(websocket.WebSocketBadStatusException, websocket.WebSocketConnectionClosedException):
        foreign = websocket.create_connection(address, origin=origin, cookie=cookie, timeout=5)
        # gevent-websocket accepts before the application is called; then the connection just closes.
        assert not str(foreign.recv()).startswith("0{")
    mine = websocket.create_connection(address, origin=each.url, cookie=cookie, timeout=5)
    assert mine.recv().startswith("0{")
    mine.close()


def test_a_right_that_ends_stops_the_stream(each: Site) -> None:
    each.rights_ended.unlink(missing_ok=True)
    feed = feed_of(each, "ann")
    guest, owner = each.browser("guest"), each.browser("ann")
    guest.ask("watch", {"feed": feed})
    owner.ask("watch", {"feed": feed})
    streamed = requests.get(
        f"{each.url}/petiole/tasks/{feed[5:]}/events",
        headers={"X-Person": "guest", "Accept": "text/event-stream"},
        stream=True,
        timeout=10,
    )
    lines = streamed.iter_lines()
    assert next(lines)
    each.rights_ended.touch()
    refused = guest.next("refused")
    assert refused["feed"] == feed
    assert refused["error"]["status"] == 404
    each.journal.append(feed, Draft("log", data={"level": "info", "message": "secret"}))
    assert owner.next("event")["data"]["message"] == "secret"
    guest.send('42/petiole,99["unwatch",{"feed":"task:1"}]')
    assert guest.receive() == "43/petiole,99[{}]"
    assert not any(b"secret" in line for line in lines)
    assert guest.ask("watch", {"feed": feed})["error"]["status"] == 404
    each.rights_ended.unlink()
    guest.close()
    owner.close()


def test_a_watch_that_is_given_up_while_it_begins_leaves_nothing(each: Site) -> None:
    threads, descriptors = each.threads(), each.descriptors()
    person = somebody()
    feed = feed_of(each, person)
    for _ in range(30):
        browser = each.browser(person)
        for number in range(5):
            browser.send(f'42/petiole,{number}["watch",{{"feed":"{feed}"}}]')
        browser.socket.sock.close()
    is_served(each)
    wait_until(lambda: each.descriptors() <= descriptors + 5, timeout=10, what="every descriptor is given back")
    wait_until(lambda: each.threads() <= threads + 10, timeout=10, what="every thread has ended")


def test_an_attack_leaves_memory_and_log_as_they_were(site: Site) -> None:
    lines, before = len(site.log), site.resident()
    ends = time.monotonic() + 5

    def attack(number: int) -> None:
        while time.monotonic() < ends:
            with suppress(OSError, websocket.WebSocketException):
                browser = Browser(site.port, None)
                for packet in MALFORMED[number::3]:
                    browser.send(packet)
                    if number == 0:
                        browser.send('4532-/own,["echo"]')
                        browser.send(b"x" * 900_000)
                browser.socket.sock.close()

    attackers = [threading.Thread(target=attack, args=(number,)) for number in range(3)]
    for attacker in attackers:
        attacker.start()
    for attacker in attackers:
        attacker.join()
    is_served(site)
    assert site.resident() - before < 50 * MEGABYTE
    assert len(site.log) - lines <= 15


@pytest.mark.parametrize("server", sorted(SERVERS))
def test_a_page_that_only_answers_pings_stays(tmp_path: Path, server: str) -> None:
    # Several times shorter than the writer of a WebSocket would wait by itself.
    settings = {"PING_INTERVAL": "0.2", "PING_TIMEOUT": "0.3"}
    with serving(tmp_path, server=server, settings=settings) as site:
        browser = site.browser("ann")
        for _ in range(10):
            assert browser.socket.recv() == "2"
            browser.send("3")
        assert browser.ask("watch", {"feed": feed_of(site, "ann")})["recovered"]
        assert browser.ends_within(5)  # it is silent from here on
