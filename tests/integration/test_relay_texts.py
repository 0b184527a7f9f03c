"""Texts through the relay against a real Redis: every page has the text of its source, whatever the bus loses."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from petiole.bus.redis import RedisBus
from petiole.protocol.reader import Read, Reader, Reading
from petiole.protocol.texts import MAX_READ_BYTES, TEXT
from petiole.settings import Settings
from tests.support.relay import (
    HEAD_CHECK,
    HEALED,
    FaultyBus,
    Page,
    Server,
    Web,
    Writer,
    assert_emitted_in_order,
    assert_saw_everything,
    serving,
    spawn,
)
from tests.support.waiting import wait_until

# Characters of one to four bytes.
LETTERS = "aé漢🌿\n"
# More than two parts of a reading.
LONG = "0123456789abcdef" * (5 * MAX_READ_BYTES // 32)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("texts")) as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """The test's own server, to empty."""
    with serving(tmp_path) as server:
        yield server


OpenWeb = Callable[..., Web]


@pytest.fixture
def open_web(server: Server) -> Iterator[OpenWeb]:
    """Opens a web process whose bus has the given faults."""
    webs: list[Web] = []
    prefix = f"texts-{uuid.uuid4().hex[:8]}"

    def make(at: Server = server, *, head_check: float = HEAD_CHECK, **faults: Any) -> Web:
        settings = Settings(journal_url=at.url, key_prefix=prefix, head_check=head_check)
        webs.append(Web(settings, bus=FaultyBus(RedisBus(settings), **faults)))
        return webs[-1]

    yield make
    for web in webs:
        web.close()


def write_at_random(writer: Writer, *, seed: int, chunks: int) -> None:
    """Write chunks of two texts, with facts and counters between them."""
    chance = random.Random(seed)
    for _ in range(chunks):
        text = "".join(chance.choices(LETTERS, k=chance.randint(1, 20)))
        writer.text(text, name=chance.choice(("output", "output", "log")))
        if chance.random() < 0.2:
            chance.choice((writer.fact, writer.count))()


def assert_has_the_texts(page: Page, writer: Writer) -> None:
    """The page's texts are those of the source, and so are the journal's."""
    assert page.reader.texts == writer.written
    for name, text in writer.written.items():
        assert page.web.journal.text(writer.feed, name) == text


@pytest.mark.parametrize("seed", range(3))
def test_lost_doubled_and_swapped_chunks_reach_every_page_once_and_in_order(open_web: OpenWeb, seed: int) -> None:
    web = open_web(seed=seed, drop=0.15, double=0.15, swap=0.15)
    writers = [Writer(web.journal) for _ in range(3)]
    pages = [(Page(web, writer.feed), writer) for writer in writers]
    pages += [(Page(web, writer.feed, cursor=writer.opened), writer) for writer in writers]
    threads = [spawn(write_at_random, writer, seed=seed + 10 * n, chunks=150) for n, writer in enumerate(writers)]
    for thread in threads:
        thread.join(30)
    for writer in writers:
        writer.end()
    for page, writer in pages:
        page.wait()
        assert_saw_everything(page)
        assert_has_the_texts(page, writer)
    for writer in writers:
        assert_emitted_in_order(web, writer.feed)
    assert min(web.bus.did[fault] for fault in ("dropped", "doubled", "swapped")) > 10


def test_a_chunk_goes_on_as_the_journal_wrote_it(open_web: OpenWeb) -> None:
    web = open_web(head_check=600.0)
    writer = Writer(web.journal)
    page = Page(web, writer.feed)
    page.wait()
    wait_until(lambda: not web.relay._feeds[writer.feed].reader.reading, what="the relay follows")
    for text in ("one ", "tŵo ", "</script>"):
        writer.text(text)
    page.wait()
    assert_has_the_texts(page, writer)
    assert [event.chunk.text for event in web.events(writer.feed) if event.chunk] == ["one ", "tŵo ", "</script>"]


def test_a_last_chunk_that_is_lost_is_healed_by_the_head_check_without_any_progress(open_web: OpenWeb) -> None:
    web = open_web(drop_if=lambda event: event.kind == TEXT)
    writer = Writer(web.journal)
    page = Page(web, writer.feed)
    page.wait()
    for text in ("one", "two", "three"):
        writer.text(text)
    wait_until(lambda: page.reader.text("output") == "onetwothree", what="the page has the text", timeout=HEALED)
    page.wait()
    assert web.bus.did["dropped"] == 3
    # A text costs a relay no text event: it says how long the text is, and each page reads for itself.
    assert not [event for event in web.events(writer.feed) if event.kind == TEXT]
    assert_saw_everything(page)


def test_a_long_text_that_was_lost_is_healed_in_parts(open_web: OpenWeb) -> None:
    web = open_web(drop_if=lambda event: event.kind == TEXT)
    writer = Writer(web.journal)
    page = Page(web, writer.feed)
    page.wait()
    for at in range(0, len(LONG), 32 * 1024):
        writer.text(LONG[at : at + 32 * 1024])
    wait_until(lambda: page.reader.text("output") == LONG, what="the page has the text", timeout=HEALED)
    page.wait()
    assert_saw_everything(page)


def test_a_page_that_joins_a_long_text_reads_it_in_parts_and_goes_on_with_the_next_chunk(open_web: OpenWeb) -> None:
    web = open_web(head_check=600.0)
    writer = Writer(web.journal)
    for at in range(0, len(LONG), 32 * 1024):
        writer.text(LONG[at : at + 32 * 1024])
    page = Page(web, writer.feed)
    page.wait()
    wait_until(lambda: not web.relay._feeds[writer.feed].reader.reading, what="the relay follows")
    writer.text("!")
    page.wait()
    assert page.reader.text("output") == LONG + "!"
    # On a busy machine what was written before may ring as well.
    assert [event.chunk.text for event in web.events(writer.feed) if event.chunk] == ["!"]


def test_a_text_that_the_journal_lost_is_read_again_once_its_writer_has_sent_it(
    own_server: Server, open_web: OpenWeb
) -> None:
    web = open_web(own_server)
    writer = Writer(web.journal)
    pages = [Page(web, writer.feed) for _ in range(3)]
    writer.text("before ")
    last = writer.fact()
    for page in pages:
        page.wait()
    with own_server.redis() as client:
        client.flushall()
    writer.rebase(last, {"state": "running"})
    written, writer.written = writer.written["output"], {}
    writer.text(written)
    writer.text("after")
    writer.end()
    for page in pages:
        page.wait()
        assert page.resets == 1
        assert page.reader.texts == {"output": "before after"}
    resets = [wire for name, _, wire in web.emitted if name == "reset" and "~" in wire["cursor"]]
    assert not resets, "a pushed reset has no chunks, so its cursor has no lengths"


def test_whoever_joins_at_whatever_point_has_the_whole_text(open_web: OpenWeb) -> None:
    web = open_web(seed=5, drop=0.1, swap=0.1)
    writer = Writer(web.journal)
    pages = [Page(web, writer.feed)]
    points = [threading.Event() for _ in range(50)]

    def write() -> None:
        for number in range(300):
            if number % 6 == 0:
                points[number // 6].set()
            writer.text(f"{number} 漢 ")
            if number % 10 == 0:
                writer.fact()
        writer.end()

    def join(point: threading.Event) -> None:
        assert point.wait(20)
        pages.append(Page(web, writer.feed))

    for thread in [*(spawn(join, point) for point in points), spawn(write)]:
        thread.join(20)
    assert len(pages) == 51
    for page in pages:
        page.wait()
        assert_saw_everything(page)
        assert_has_the_texts(page, writer)


def test_a_page_that_was_too_slow_is_told_how_long_the_texts_are(open_web: OpenWeb) -> None:
    web = open_web()
    writer = Writer(web.journal)
    writer.text("one ")
    page = Page(web, writer.feed)
    page.wait()
    web.rooms[writer.feed].remove(page)
    writer.text("two")
    position = web.relay._position(writer.feed)
    assert position is not None
    page.take("event", position)
    page.wait()
    assert page.reader.text("output") == "one two"


def test_a_chunk_that_comes_while_the_relay_reads_goes_on_after_the_reading(open_web: OpenWeb) -> None:
    web = open_web(head_check=600.0, drop_if=lambda event: event.chunk is not None and event.chunk.text == "lost ")
    writer = Writer(web.journal)
    page = Page(web, writer.feed)
    page.wait()
    wait_until(lambda: not web.relay._feeds[writer.feed].reader.reading, what="the relay follows")
    read, asked, answered = web.journal.read, threading.Event(), threading.Event()

    def read_and_wait(*args: Any, **kwargs: Any) -> Any:
        reading = read(*args, **kwargs)
        asked.set()
        assert answered.wait(20)
        return reading

    web.journal.read = read_and_wait
    writer.text("lost ")
    writer.count()
    assert asked.wait(20)
    passed = web.bus.did["passed"]
    writer.text("buffered")
    wait_until(lambda: web.bus.did["passed"] > passed, what="the chunk has rung")
    assert not [event for event in web.events(writer.feed) if event.chunk]
    answered.set()
    page.wait()
    assert page.reader.text("output") == "lost buffered"
    assert [event.chunk.text for event in web.events(writer.feed) if event.chunk] == ["buffered"]


def test_many_who_join_a_long_text_at_once_share_its_readings(open_web: OpenWeb) -> None:
    web = open_web(head_check=600.0)
    writer = Writer(web.journal)
    for at in range(0, len(LONG), 32 * 1024):
        writer.text(LONG[at : at + 32 * 1024])
    writer.end()
    readings: list[Reading] = []
    texts: list[str] = []

    def join() -> None:
        reader = Reader(writer.feed)
        actions = reader.start()
        while actions and isinstance(actions[-1], Read):
            reading = web.relay.read(writer.feed, reader.cursor)
            assert reading is not None
            readings.append(reading)
            texts.append(reading.to_text())
            actions = reader.answer(reading)
        assert reader.text("output") == LONG

    joining = [spawn(join) for _ in range(100)]
    for thread in joining:
        thread.join(30)
    assert len(readings) == 300
    assert len({id(reading) for reading in readings}) < 30
    # What goes out to each of them is the same text; two threads that ask for it first may each make it.
    assert len({id(text) for text in texts}) < 60
