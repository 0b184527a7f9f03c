"""Texts in the Python client: the same bytes as their source, piece by piece, and a receipt that says so."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from petiole import Petiole
from petiole.client import Refused, TaskClient, TaskView, TextVoided
from petiole.client import followed as followed_module
from petiole.errors import PetioleError
from petiole.protocol.events import Draft
from petiole.protocol.texts import MAX_READ_BYTES
from tests.support.nearby import Nearby, make_app, served
from tests.support.relay import Server, Writer, serving, spawn
from tests.support.system import System
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def site(redis_url: str) -> Iterator[Nearby]:
    with served(make_app(redis_url, Petiole(), PETIOLE_HEAD_CHECK=0.5)) as nearby:
        yield nearby


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as server:
        yield server


@pytest.fixture
def writer(site: Nearby) -> Writer:
    return Writer(site.journal)


def watch(site: Nearby, writer: Writer, person: str = "ann") -> TaskView:
    return site.client(headers={"X-Person": person}).watch(writer.feed)


class Listener:
    """Iterates over a text in a thread of its own."""

    def __init__(self, view: TaskView, name: str = "output", *, timeout: float = 20) -> None:
        self.chunks: list[str] = []
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._listen, args=(view, name, timeout), daemon=True)
        self._thread.start()

    @property
    def text(self) -> str:
        return "".join(self.chunks)

    def wait(self) -> Listener:
        self._thread.join(20)
        assert not self._thread.is_alive(), self.chunks
        return self

    def _listen(self, view: TaskView, name: str, timeout: float) -> None:
        try:
            for chunk in view.chunks(name, timeout=timeout):
                self.chunks.append(chunk)
        except (PetioleError, TimeoutError) as error:
            self.error = error


def test_a_view_without_texts_reads_none_and_misses_nothing_else(site: Nearby, writer: Writer) -> None:
    for at in range(4):
        writer.text(str(at) * 30_000)
    view = site.client(headers={"X-Person": "ann"}).watch(writer.feed, texts=False)
    view.wait_until(lambda document: document.get("state") is not None, timeout=10)
    writer.text("and more")
    writer.fact()
    writer.end()
    view.wait(timeout=10)
    assert (view.texts, view.receipt.texts, view.receipt.complete, view.resets) == ({}, {}, True, 0)


def test_a_text_comes_piece_by_piece_and_whole(site: Nearby, writer: Writer) -> None:
    writer.text("one ")
    view = watch(site, writer)
    heard, log = Listener(view), Listener(view, "log")
    for text in ("añb ", "漢 ", "🌿"):
        writer.text(text)
        wait_until(lambda: heard.text == writer.written["output"], what="the chunk has come")
    writer.text("a line", name="log")
    writer.end()
    view.wait(timeout=10)
    assert view.texts == writer.written == {"output": heard.wait().text, "log": log.wait().text}
    assert view.text("log") == "a line"
    assert view.text("none") == ""
    assert (heard.error, log.error) == (None, None)
    # Who iterates after the end gets all of it.
    assert "".join(view.chunks(timeout=1)) == view.text()
    assert list(view.chunks("none", timeout=1)) == []


def test_the_receipt_proves_the_texts(site: Nearby, writer: Writer) -> None:
    writer.text("one ")
    writer.text("two")
    writer.text("a line", name="log")
    writer.end()
    view = watch(site, writer)
    view.wait(timeout=10)
    receipt = view.receipt
    assert receipt is not None
    assert receipt.complete
    assert {name: (text.length, text.omitted, text.complete) for name, text in receipt.texts.items()} == {
        "output": (7, 0, True),
        "log": (6, 0, True),
    }


def test_a_text_that_was_changed_on_its_way_makes_the_receipt_incomplete(own_server: Server) -> None:
    with served(make_app(own_server.url, Petiole())) as site:
        writer = Writer(site.journal)
        writer.text("one two")
        with own_server.redis() as client:
            (key,) = client.scan_iter(f"*{writer.feed}:text:output")
            client.setrange(key, 4, b"TWO")
        writer.end()
        view = watch(site, writer)
        view.wait(timeout=10)
        assert view.receipt is not None
        assert not view.receipt.complete
        assert not view.receipt.texts["output"].complete


def test_a_long_text_is_waited_for_to_its_end(site: Nearby, writer: Writer) -> None:
    for _ in range(5 * MAX_READ_BYTES // (2 * 32 * 1024)):
        writer.text("0123456789abcdef" * 2048)
    writer.end()
    view = watch(site, writer)
    view.wait(timeout=10)
    assert view.text() == writer.written["output"]
    assert view.receipt is not None
    assert view.receipt.complete


def test_cut_connections_cost_no_byte(site: Nearby, writer: Writer) -> None:
    client = site.client(headers={"X-Person": "ann"})
    view = client.watch(writer.feed)
    heard = Listener(view)
    for number in range(40):
        writer.text(f"{number} 漢 ")
        if number % 10 == 5:
            wait_until(lambda: client.connected, what="it is connected")
            client.cut()
    writer.end()
    view.wait(timeout=20)
    assert heard.wait().text == view.text() == writer.written["output"]
    assert view.receipt is not None
    assert view.receipt.complete
    assert view.resets == 0


def test_a_later_run_voids_what_was_given_and_says_so(site: Nearby, writer: Writer) -> None:
    writer.text("of the first run")
    view = watch(site, writer)
    first = Listener(view)
    wait_until(lambda: first.text == "of the first run", what="the first run's text has come")
    writer.begin_run()
    assert isinstance(first.wait().error, TextVoided)
    wait_until(lambda: view.texts == {}, what="the text is void")
    second = Listener(view)
    writer.text("of the second")
    writer.end()
    assert (second.wait().text, second.error) == ("of the second", None)


def test_a_text_that_the_journal_lost_goes_on_where_it_was_once_its_writer_has_sent_it_again(
    own_server: Server,
) -> None:
    with served(make_app(own_server.url, Petiole(), PETIOLE_HEAD_CHECK=0.3)) as site:
        writer = Writer(site.journal)
        view = watch(site, writer)
        heard = Listener(view)
        writer.text("before ")
        last = writer.fact()
        wait_until(lambda: heard.text == "before " and view.cursor.seq == last.seq, what="all of it has come")
        with own_server.redis() as client:
            client.flushall()
        writer.rebase(last, {"state": "running"})
        written, writer.written = writer.written["output"], {}
        writer.text(written)
        # No event follows by which it could see that it lacks the text.
        wait_until(lambda: view.resets == 1 and view.text() == "before ", what="it has read the text again")
        writer.text("after")
        writer.end()
        view.wait(timeout=15)
        assert view.resets == 1
        assert heard.wait().error is None
        assert heard.text == view.text() == "before after"
        receipt = view.receipt
        assert receipt is not None
        assert receipt.texts["output"].complete
        # Facts may have been missed, and no byte of a text.
        assert not receipt.complete


def test_a_text_whose_end_was_lost_is_not_given_as_if_it_were_whole(own_server: Server) -> None:
    with served(make_app(own_server.url, Petiole(), PETIOLE_HEAD_CHECK=0.3)) as site:
        writer = Writer(site.journal)
        view = watch(site, writer)
        heard = Listener(view)
        writer.text("before")
        last = writer.fact()
        wait_until(lambda: heard.text == "before", what="all of it has come")
        with own_server.redis() as client:
            client.flushall()
        writer.rebase(last, {"state": "running"})
        writer.written = {}
        site.journal.append(writer.feed, Draft("state", {"state": "lost"}))
        assert isinstance(heard.wait().error, TextVoided)


def test_a_foreign_text_is_refused_and_a_silent_one_is_a_timeout(site: Nearby, writer: Writer) -> None:
    with pytest.raises(Refused):
        list(watch(site, writer, "bob").chunks(timeout=10))
    with pytest.raises(TimeoutError, match="Nothing of the text 'output'"):
        list(watch(site, writer).chunks(timeout=0.2))


def test_the_whole_way_from_a_task(system: System) -> None:
    view = system.client("ann").start("/start/write_texts", {"args": [300]})
    heard = Listener(view)
    view.wait(timeout=30)
    assert heard.wait().text == view.text() == "".join(f"{number} 漢 " for number in range(300))
    assert view.text("log") == "".join(f"line {number}\n" for number in range(0, 300, 10))
    assert view.receipt is not None
    assert view.receipt.complete
    assert sorted(view.receipt.texts) == ["log", "output"]
    session = system.session("ann")
    response = session.get(f"{system.url}/petiole/tasks/{view.feed[5:]}/text/output", timeout=5)
    assert response.content.decode() == view.text()
    stream = session.get(
        f"{system.url}/petiole/tasks/{view.feed[5:]}/events", headers={"Accept": "text/event-stream"}, timeout=20
    )
    chunks = [
        json.loads(line.removeprefix("data: "))
        for line in stream.content.decode().splitlines()
        if line.startswith('data: {"feed"')
    ]
    assert "".join(chunk["chunk"] for chunk in chunks if chunk["name"] == "output") == view.text()


class SlowLink:
    """A proxy through which a server's bytes come at `rate` bytes a second."""

    def __init__(self, port: int, *, rate: float) -> None:
        self._to, self._rate = port, rate
        self._listener = socket.create_server(("127.0.0.1", 0))
        # The kernel's buffers would take a whole part at once.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16 * 1024)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        spawn(self._accept)

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self._to))
                spawn(self._pass_on, client, server, 0)
                spawn(self._pass_on, server, client, self._rate)

    def _pass_on(self, source: socket.socket, to: socket.socket, rate: float) -> None:
        with suppress(OSError):
            while data := source.recv(4096):
                to.sendall(data)
                time.sleep(len(data) / rate if rate else 0)
        with suppress(OSError):
            to.shutdown(socket.SHUT_WR)


def test_over_a_link_on_which_a_part_takes_longer_than_an_answer_may_it_comes_all_the_same(
    site: Nearby, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed_module, "ANSWER_TIMEOUT", 0.5)
    for _ in range(MAX_READ_BYTES // (32 * 1024)):
        writer.text("0123456789abcdef" * 2048)
    link = SlowLink(int(site.url.rpartition(":")[2]), rate=MAX_READ_BYTES / 1.5)
    session = requests.Session()
    session.headers["X-Person"] = "ann"
    client = TaskClient(link.url, session=session)
    site.clients.append(client)
    view = client.watch(writer.feed)
    wait_until(lambda: view.text() == writer.written["output"], what="the text has come", timeout=20)
    link.close()
