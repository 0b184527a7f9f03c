"""Texts over HTTP: as plain text, as a reading, as a stream, and on the page without JavaScript."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from petiole import Petiole
from petiole.protocol.events import Cursor
from petiole.protocol.texts import MAX_READ_BYTES
from petiole.web.http.texts import SHOWN
from tests.support.nearby import Nearby, make_app, served
from tests.support.relay import Writer
from tests.support.waiting import wait_until

HOSTILE = "</script></pre><img src=x onerror=alert(1)> \u202e \x00 👩\u200d💻 ' \" \\ \r\n"
STREAM = {"Accept": "text/event-stream"}


@pytest.fixture(scope="module", params=["redis", "sqlite"])
def site(redis_url: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nearby]:
    journal = f"sqlite:///{tmp_path_factory.mktemp('journal')}/journal.db"
    config = {} if request.param == "redis" else {"PETIOLE_JOURNAL_URL": journal}
    with served(make_app(redis_url, Petiole(), **config)) as nearby:
        yield nearby


@pytest.fixture
def ann() -> requests.Session:
    session = requests.Session()
    session.headers["X-Person"] = "ann"
    return session


@pytest.fixture
def writer(site: Nearby) -> Writer:
    return Writer(site.journal)


def write_long(writer: Writer, text: str) -> None:
    for at in range(0, len(text), 8 * 1024):
        writer.text(text[at : at + 8 * 1024])


class TestPlain:
    def get(self, site: Nearby, session: requests.Session, writer: Writer, name: str = "output", **headers: str) -> Any:
        return session.get(site.tasks(writer.feed, f"/text/{name}"), headers=headers, timeout=5)

    def test_it_is_what_was_written_so_far(self, site: Nearby, ann: requests.Session, writer: Writer) -> None:
        writer.text("one ")
        writer.text(HOSTILE)
        response = self.get(site, ann, writer)
        assert response.status_code == 200
        assert response.content == f"one {HOSTILE}".encode()
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "private, no-cache"
        assert response.headers["Accept-Ranges"] == "bytes"
        assert response.headers["Retry-After"] == "3"

    def test_after_the_end_nobody_asks_again(self, site: Nearby, ann: requests.Session, writer: Writer) -> None:
        writer.text("done")
        writer.end()
        assert "Retry-After" not in self.get(site, ann, writer).headers

    def test_its_tag_is_that_of_its_bytes(self, site: Nearby, ann: requests.Session, writer: Writer) -> None:
        writer.text("one ")
        tag = self.get(site, ann, writer).headers["ETag"]
        writer.fact()
        assert self.get(site, ann, writer, **{"If-None-Match": tag}).status_code == 304
        writer.text("two")
        response = self.get(site, ann, writer, **{"If-None-Match": tag})
        assert (response.status_code, response.text) == (200, "one two")

    def test_who_has_its_beginning_asks_for_the_rest(self, site: Nearby, ann: requests.Session, writer: Writer) -> None:
        writer.text("añb")
        writer.text(" rest")
        response = self.get(site, ann, writer, Range="bytes=4-")
        assert (response.status_code, response.text) == (206, " rest")
        assert response.headers["Content-Range"] == "bytes 4-8/9"
        assert response.headers["Content-Length"] == "5"
        assert self.get(site, ann, writer, Range="bytes=-3").text == "est"

    def test_what_comes_only_later_is_a_416_that_says_how_long_the_text_is(
        self, site: Nearby, ann: requests.Session, writer: Writer
    ) -> None:
        writer.text("four")
        response = self.get(site, ann, writer, Range="bytes=4-")
        assert response.status_code == 416
        assert response.headers["Content-Type"] == "application/problem+json"
        assert response.headers["Content-Range"] == "bytes */4"
        assert response.headers["Retry-After"] == "3"
        writer.text("!")
        assert self.get(site, ann, writer, Range="bytes=4-").text == "!"

    def test_a_range_of_other_bytes_than_the_client_has_is_answered_with_all(
        self, site: Nearby, ann: requests.Session, writer: Writer
    ) -> None:
        writer.text("one ")
        tag = self.get(site, ann, writer).headers["ETag"]
        headers = {"Range": "bytes=2-", "If-Range": tag}
        assert self.get(site, ann, writer, **headers).status_code == 206
        writer.begin_run()
        writer.text("two ")
        assert (self.get(site, ann, writer, **headers).status_code, writer.written["output"]) == (200, "two ")

    def test_head_has_the_length_and_no_body(self, site: Nearby, ann: requests.Session, writer: Writer) -> None:
        writer.text("añb")
        response = ann.head(site.tasks(writer.feed, "/text/output"), timeout=5)
        assert (response.status_code, response.headers["Content-Length"], response.content) == (200, "4", b"")

    @pytest.mark.parametrize("name", ["other", "a.b", "x" * 33, "%00", "out put", "..%2fmeta", "facts"])
    def test_a_name_that_has_no_text_is_a_404(
        self, site: Nearby, ann: requests.Session, writer: Writer, name: str
    ) -> None:
        writer.text("one")
        response = self.get(site, ann, writer, name)
        assert response.status_code == 404
        assert response.headers["Content-Type"] == "application/problem+json"

    def test_a_foreign_text_is_the_404_of_a_foreign_task(self, site: Nearby, writer: Writer) -> None:
        writer.text("secret")
        bob = requests.Session()
        bob.headers["X-Person"] = "bob"
        response = self.get(site, bob, writer)
        assert response.status_code == 404
        assert response.json() == bob.get(site.tasks(writer.feed), timeout=5).json()

    def test_a_later_run_writes_it_anew(self, site: Nearby, ann: requests.Session, writer: Writer) -> None:
        writer.text("of the first run")
        writer.begin_run()
        assert self.get(site, ann, writer).status_code == 404
        writer.text("of the second")
        assert self.get(site, ann, writer).text == "of the second"

    def test_a_removed_task_has_none(self, site: Nearby, ann: requests.Session, writer: Writer) -> None:
        writer.text("one")
        assert ann.delete(site.tasks(writer.feed), timeout=5).status_code == 204
        assert self.get(site, ann, writer).status_code == 404


class TestSnapshot:
    def test_it_names_the_texts_and_its_cursor_has_none_of_them(
        self, site: Nearby, ann: requests.Session, writer: Writer
    ) -> None:
        bare = ann.get(site.tasks(writer.feed), timeout=5).json()
        assert not [name for name in bare["links"] if name.startswith("text:")]
        writer.text("one")
        writer.text("two", name="log")
        response = ann.get(site.tasks(writer.feed), timeout=5)
        snapshot = response.json()
        assert "~" not in snapshot["cursor"]
        assert response.headers["ETag"] == f'"{snapshot["cursor"]}~1~log~3~output~3"'
        assert ann.get(site.url + snapshot["links"]["text:log"], timeout=5).text == "two"
        reading = ann.get(
            site.url + snapshot["links"]["events"], params={"after": snapshot["cursor"]}, timeout=5
        ).json()
        assert reading["recovered"] is True
        assert sorted(chunk["name"] + chunk["chunk"] for chunk in reading["texts"]["chunks"]) == ["logtwo", "outputone"]

    def test_its_tag_changes_with_each_chunk(self, site: Nearby, ann: requests.Session, writer: Writer) -> None:
        writer.text("one")
        tag = ann.get(site.tasks(writer.feed), timeout=5).headers["ETag"]
        assert ann.get(site.tasks(writer.feed), headers={"If-None-Match": tag}, timeout=5).status_code == 304
        writer.text("two")
        assert ann.get(site.tasks(writer.feed), headers={"If-None-Match": tag}, timeout=5).status_code == 200

    def test_polls_bring_each_byte_once(self, site: Nearby, ann: requests.Session, writer: Writer) -> None:
        write_long(writer, "x" * (MAX_READ_BYTES + 100))
        writer.fact()
        after, text, more = {"after": str(writer.opened)}, "", True
        while more:
            url = site.tasks(writer.feed, "/events")
            reading = ann.get(url, params=after, timeout=5).json()
            for chunk in reading["texts"]["chunks"]:
                assert chunk["at"] == len(text)
                text += chunk["chunk"]
            after, more = {"after": reading["cursor"], "texts": reading["texts"]["after"]}, reading["more"]
        assert text == writer.written["output"]
        writer.text("rest")
        reading = ann.get(url, params=after, timeout=5).json()
        assert [chunk["chunk"] for chunk in reading["texts"]["chunks"]] == ["rest"]

    def test_a_reading_without_texts_has_no_chunk(self, site: Nearby, ann: requests.Session, writer: Writer) -> None:
        write_long(writer, "x" * (MAX_READ_BYTES + 100))
        reading = ann.get(site.tasks(writer.feed, "/events"), params={"texts": "false"}, timeout=5).json()
        assert (reading["texts"]["chunks"], reading["more"], len(reading["events"])) == ([], False, 2)


class TestPage:
    def page(self, site: Nearby, session: requests.Session, writer: Writer) -> str:
        return session.get(site.tasks(writer.feed), headers={"Accept": "text/html"}, timeout=5).text

    def test_it_shows_the_texts_as_text(self, site: Nearby, ann: requests.Session, writer: Writer) -> None:
        assert "<pre>" not in self.page(site, ann, writer)
        writer.text(HOSTILE)
        writer.text("a line", name="log")
        page = self.page(site, ann, writer)
        assert "<img" not in page
        assert "&lt;/script&gt;&lt;/pre&gt;" in page
        assert page.count("<pre>") == 2
        assert f'href="/petiole/tasks/{writer.feed[5:]}/text/log"' in page

    def test_of_a_long_one_it_shows_the_end(self, site: Nearby, ann: requests.Session, writer: Writer) -> None:
        write_long(writer, "beginning" + "x" * SHOWN + "漢")
        page = self.page(site, ann, writer)
        assert "beginning" not in page
        assert "x漢</pre>" in page
        assert "This is its end." in page
        assert f"{9 + SHOWN + 3:,} bytes" in page


class Told:
    """What a stream has said, as a browser takes it: by names, with the last id."""

    def __init__(self, site: Nearby, writer: Writer, last: str | None = None, *, stop_after: int | None = None) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.ids: list[str] = []
        self.at: list[float] = []
        self.status = 0
        headers = {**STREAM, "X-Person": "ann", **({} if last is None else {"Last-Event-ID": last})}
        url = site.tasks(writer.feed, "/events")
        self._thread = threading.Thread(target=self._read, args=(url, headers, stop_after), daemon=True)
        self._thread.start()

    def texts(self, texts: dict[str, str] | None = None) -> dict[str, str]:
        """What the texts are, after `texts`."""
        found = dict(texts or {})
        for kind, data in self.events:
            if kind in ("clear", "reset"):
                found.clear()
            if kind == "text":
                before = found.get(data["name"], "")
                assert data["at"] == len(before.encode())
                found[data["name"]] = before + data["chunk"]
        return found

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events]

    def wait(self) -> Told:
        self._thread.join(20)
        assert not self._thread.is_alive(), self.events
        return self

    def _read(self, url: str, headers: dict[str, str], stop_after: int | None) -> None:
        with requests.get(url, headers=headers, stream=True, timeout=20) as response:
            self.status = response.status_code
            arrived = b""
            for part in response.iter_content(chunk_size=None):
                *blocks, arrived = (arrived + part).split(b"\n\n")
                for block in blocks:
                    fields = dict(line.split(": ", 1) for line in block.decode().splitlines())
                    if "event" in fields and len(self.events) != stop_after:
                        self.ids.append(fields["id"])
                        self.at.append(time.monotonic())
                        self.events.append((fields["event"], json.loads(fields["data"])))
                if len(self.events) == stop_after:
                    return


class TestStream:
    def test_each_chunk_comes_once_and_before_the_end(self, site: Nearby, writer: Writer) -> None:
        told = Told(site, writer)
        wait_until(lambda: "state" in told.kinds(), what="the stream has begun")
        for number in range(30):
            writer.text(f"{number} 漢 ")
            if number % 10 == 0:
                writer.fact()
        writer.text("log", name="log")
        writer.end()
        told.wait()
        assert told.texts() == writer.written
        kind, last = told.events[-1]
        assert (kind, last["patch"]["state"]) == ("state", "succeeded")
        assert Cursor.parse(told.ids[-1]).texts.length("output") == len(writer.written["output"].encode())

    def test_a_long_text_comes_in_parts_and_all_of_it_before_the_end(self, site: Nearby, writer: Writer) -> None:
        write_long(writer, "0123456789abcdef" * (5 * MAX_READ_BYTES // 32))
        writer.fact()
        writer.end()
        told = Told(site, writer).wait()
        assert told.texts() == writer.written
        assert told.kinds() == ["state", "state", "text", "text", "text", "log", "state"]

    def test_from_each_of_its_ids_it_goes_on_exactly(self, site: Nearby, writer: Writer) -> None:
        for number in range(4):
            writer.text(f"{number} 漢 ")
            writer.text(f"line {number}\n", name="log")
            writer.fact()
            writer.count()
        writer.end()
        whole = Told(site, writer).wait()
        assert whole.texts() == writer.written
        for count in range(1, len(whole.ids)):
            first = Told(site, writer, stop_after=count).wait()
            assert first.ids == whole.ids[:count]
            rest = Told(site, writer, first.ids[-1]).wait()
            assert rest.texts(first.texts()) == writer.written
            facts = [data["facts"] for kind, data in first.events + rest.events if kind not in ("text", "counter")]
            assert facts == list(range(1, len(facts) + 1))
        assert Told(site, writer, whole.ids[-1]).wait().status == 204
        # What was written before a fact comes before it.
        held: dict[str, int] = {}
        for kind, data in whole.events:
            if kind == "text":
                held[data["name"]] = data["at"] + len(data["chunk"].encode())
            elif "texts" in data:
                assert all(held[name] >= length for name, length in data["texts"]["lengths"].items())

    def test_it_goes_on_while_the_text_grows(self, site: Nearby, writer: Writer) -> None:
        writer.text("one ")
        first = Told(site, writer, stop_after=3).wait()
        assert first.texts() == {"output": "one "}
        writer.text("two ")
        rest = Told(site, writer, first.ids[-1])
        wait_until(lambda: rest.texts(first.texts()) == {"output": "one two "}, what="the next chunk has come")
        writer.end()
        assert rest.wait().texts(first.texts()) == writer.written

    def test_a_later_run_says_that_the_text_before_is_void(self, site: Nearby, writer: Writer) -> None:
        writer.text("of the first run")
        told = Told(site, writer)
        wait_until(lambda: told.texts() == {"output": "of the first run"}, what="the first run's text has come")
        writer.begin_run()
        wait_until(lambda: told.texts() == {}, what="it is void")
        assert next(data for kind, data in told.events if kind == "clear") == {"feed": writer.feed, "run": 2}
        writer.text("of the second")
        writer.end()
        assert told.wait().texts() == {"output": "of the second"}
        again = Told(site, writer, told.ids[told.kinds().index("text")]).wait()
        assert again.texts({"output": "of the first run"}) == {"output": "of the second"}

    def test_after_a_reset_the_texts_come_from_the_start(self, site: Nearby, writer: Writer) -> None:
        writer.text("all of it")
        writer.end()
        told = Told(site, writer, f"ffffffff.7.7.{'0' * 16}~1~output~4").wait()
        assert told.kinds() == ["reset", "text"]
        assert told.texts({"output": "what the client had"}) == writer.written

    def test_who_has_only_a_snapshot_gets_the_text_of_a_task_that_has_ended(
        self, site: Nearby, ann: requests.Session, writer: Writer
    ) -> None:
        writer.text("all of it")
        writer.end()
        cursor = ann.get(site.tasks(writer.feed), timeout=5).json()["cursor"]
        assert Told(site, writer, cursor).wait().texts() == writer.written

    def test_while_a_text_grows_it_looks_ten_times_a_second(self, site: Nearby, writer: Writer) -> None:
        told = Told(site, writer)
        wait_until(lambda: "state" in told.kinds(), what="the stream has begun")
        for number in range(15):
            writer.text(f"{number} ")
            wait_until(lambda: told.texts() == writer.written, what="the chunk has come")
        writer.end()
        told.wait()
        came = [at for at, kind in zip(told.at, told.kinds(), strict=True) if kind == "text"]
        # At one look a second it would take fifteen.
        assert came[-1] - came[0] < 7

    def test_the_hash_of_what_came_is_that_of_the_end(self, site: Nearby, writer: Writer) -> None:
        writer.text(HOSTILE)
        writer.end()
        told = Told(site, writer).wait()
        receipt = told.events[-1][1]["patch"]["texts"]["output"]
        assert hashlib.sha256(told.texts()["output"].encode()).hexdigest() == receipt["sha256"]
