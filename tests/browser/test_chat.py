"""`examples/chat`, as its readers use it: ask, reload in the middle, a second tab, stop, try again, any model."""

from __future__ import annotations

import json
import runpy
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visit
from tests.support.examples import Example, running_example
from tests.support.system import ROOT
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

OFFLINE = runpy.run_path(str(ROOT / "examples" / "chat" / "models.py"))["OFFLINE"]
# They have no icon, which a browser requests by itself.
NO_ICON = ("status of 404",)
STOPPED = "Incomplete: the task was cancelled."


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    with running_example("chat", tmp_path_factory.mktemp("chat"), settings={"CHAT_TOKENS_PER_SECOND": "30"}) as chat:
        yield chat


class Answer:
    """The answer to one question on a page."""

    def __init__(self, page: Page, turn: int = 0) -> None:
        self.root = page.locator("article").nth(turn)

    @property
    def text(self) -> str:
        return self.root.locator("[part='text-lines']").text_content() or ""

    @property
    def note(self) -> Locator:
        return self.root.locator("[part='text-note']:visible")

    @property
    def said(self) -> Locator:
        return self.root.locator("> [role='status']")

    def button(self, name: str) -> Locator:
        return self.root.get_by_role("button", name=name, exact=True)

    def grows(self, size: int = 30) -> str:
        wait_until(lambda: len(self.text) >= size, what=f"{size} characters of the answer are shown", timeout=20)
        return self.text

    def ends_with_all_of(self, expected: str) -> None:
        wait_until(lambda: self.text == expected, what="all of the answer is shown", timeout=30)
        expect(self.button("Try again")).to_be_visible()
        assert self.receipt["complete"]
        length = len(expected.encode())
        assert self.receipt["texts"] == {"output": {"length": length, "complete": True, "omitted": 0}}

    @property
    def receipt(self) -> dict[str, Any]:
        return self.root.evaluate("(article) => article.view.receipt")


def ask(page: Page, question: str, *, turn: int = 0) -> Answer:
    page.get_by_label("Your question").fill(question)
    page.get_by_label("Your question").press("Enter")
    answer = Answer(page, turn)
    expect(answer.root.locator("h2")).to_have_text(question)
    return answer


def test_an_answer_is_the_same_after_a_reload_in_the_middle_and_in_a_second_tab(chat: Example, visit: Visit) -> None:
    visitor = visit(chat.url, expected=NO_ICON)
    page = visitor.open()
    expected = OFFLINE.format(question="What is <b>this</b>?", number=1)
    shown = ask(page, "What is <b>this</b>?").grows()
    assert len(shown) < len(expected) / 2
    assert expected.startswith(shown)
    page.reload()
    other = visitor.open()
    for each in (page, other):
        Answer(each).ends_with_all_of(expected)
    assert page.locator("b").count() == 0


def test_a_web_process_that_is_killed_in_the_middle_costs_no_byte(chat: Example, visit: Visit) -> None:
    page = visit(chat.url, expected=(*NO_ICON, "ERR_CONNECTION_REFUSED", "WebSocket")).open()
    answer = ask(page, "Why?")
    answer.grows()
    chat.restart_web()
    answer.ends_with_all_of(OFFLINE.format(question="Why?", number=1))


def test_a_stopped_answer_is_partial_and_says_so_and_trying_again_begins_it_anew(chat: Example, visit: Visit) -> None:
    page = visit(chat.url, expected=NO_ICON).open()
    expected = OFFLINE.format(question="How?", number=1)
    answer = ask(page, "How?")
    answer.grows()
    answer.button("Stop").click()
    expect(answer.note).to_have_text(STOPPED)
    kept = answer.text
    assert expected.startswith(kept)
    assert len(kept) < len(expected)
    assert answer.receipt["texts"]["output"]["complete"]
    page.reload()
    answer = Answer(page)
    wait_until(lambda: answer.text == kept, what="the partial text is there again")
    expect(answer.note).to_have_text(STOPPED)
    expect(answer.button("Stop")).to_be_hidden()
    answer.button("Try again").click()
    expect(answer.button("Stop")).to_be_visible()
    answer.ends_with_all_of(expected)
    expect(page.locator("article")).to_have_count(1)
    expect(answer.note).to_have_count(0)


def test_two_tabs_have_one_conversation(chat: Example, visit: Visit) -> None:
    visitor = visit(chat.url, expected=NO_ICON)
    page, other = visitor.open(), visitor.open()
    ask(page, "First?")
    wait_until(lambda: Answer(other).text != "", what="the other tab shows the answer")
    ask(other, "Second?", turn=1)
    for each in (page, other):
        Answer(each, 0).ends_with_all_of(OFFLINE.format(question="First?", number=1))
        Answer(each, 1).ends_with_all_of(OFFLINE.format(question="Second?", number=2))
    stranger = visit(chat.url, expected=NO_ICON).open()
    expect(stranger.locator("article")).to_have_count(0)
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator("article")).to_have_count(0)


class Model:
    """A server that speaks OpenAI's protocol, and answers a question with the tokens that `answers` has for it."""

    def __init__(self, answers: dict[str, Sequence[str]]) -> None:
        self.answers = answers
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.abandoned = threading.Event()

    def take(self, request: BaseHTTPRequestHandler) -> None:
        self.keys.append(request.headers["Authorization"])
        if request.command == "GET":
            assert request.path == "/v1/models"
            self._send(request, "application/json")
            request.wfile.write(
                json.dumps({"object": "list", "data": [{"id": "small-model"}, {"id": "other"}]}).encode()
            )
            return
        assert request.path == "/v1/chat/completions"
        self.asked.append(json.loads(request.rfile.read(int(request.headers["Content-Length"]))))
        self._send(request, "text/event-stream")
        self._say(request, {"role": "assistant", "content": ""})
        question = self.asked[-1]["messages"][-1]["content"]
        if question == "For ever?":
            self._say_for_ever(request)
            return
        for token in self.answers[question]:
            self._say(request, {"content": token})
        if question != "Broken off?":
            self._say(request, {}, finish_reason="stop")
            request.wfile.write(b'data: {"choices": [], "usage": {"total_tokens": 7}}\n\ndata: [DONE]\n\n')

    def _say_for_ever(self, request: BaseHTTPRequestHandler) -> None:
        try:
            while not self.abandoned.wait(0.02):
                self._say(request, {"content": "and on "})
        except OSError:
            self.abandoned.set()

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, kind: str) -> None:
        request.send_response(200)
        request.send_header("Content-Type", kind)
        request.end_headers()

    @staticmethod
    def _say(request: BaseHTTPRequestHandler, delta: dict[str, str], *, finish_reason: str | None = None) -> None:
        chunk = {"object": "chat.completion.chunk", "choices": [{"delta": delta, "finish_reason": finish_reason}]}
        request.wfile.write(b": a comment\n\n" if delta else b"")
        request.wfile.write(f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode())


@contextmanager
def serving(model: Model) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            model.take(self)

        do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        model.abandoned.set()
        server.shutdown()
        server.server_close()
        thread.join()


def test_any_server_that_speaks_openais_protocol_answers(visit: Visit, tmp_path: Path) -> None:
    answers = {
        "Who?": ["An", " naïve", "\n\n<b>fa", "çade</b>", " 👩‍", "👧"],
        "And then?": ["Nothing", "."],
        "Broken off?": ["Half an ans"],
    }
    model = Model(answers)
    with serving(model) as url:
        settings = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "a key"}
        with running_example("chat", tmp_path, settings=settings) as chat:
            page = visit(chat.url, expected=NO_ICON).open()
            ask(page, "Who?").ends_with_all_of("".join(answers["Who?"]))
            ask(page, "And then?", turn=1).ends_with_all_of("Nothing.")
            first, second = model.asked
            assert (first["model"], first["stream"]) == ("small-model", True)
            assert first["messages"] == [{"role": "user", "content": "Who?"}]
            assert second["messages"] == [
                {"role": "user", "content": "Who?"},
                {"role": "assistant", "content": "".join(answers["Who?"])},
                {"role": "user", "content": "And then?"},
            ]
            assert set(model.keys) == {"Bearer a key"}

            broken = ask(page, "Broken off?", turn=2)
            expect(broken.said).to_have_text("The model's server has broken off this answer. Try again.")
            assert broken.text == "Half an ans"
            expect(broken.note).to_have_text("Incomplete: the task failed.")
            assert not model.abandoned.is_set()
            endless = ask(page, "For ever?", turn=3)
            endless.grows()
            endless.button("Stop").click()
            expect(endless.note).to_have_text(STOPPED)
            assert model.abandoned.wait(10), "the server was not told that nobody listens"


def test_a_server_that_does_not_answer_is_a_sentence(visit: Visit, tmp_path: Path) -> None:
    with serving(Model({})) as url:
        pass
    with running_example("chat", tmp_path, settings={"OPENAI_BASE_URL": url}) as chat:
        answer = ask(visit(chat.url, expected=NO_ICON).open(), "Anybody?")
        expect(answer.said).to_have_text("The model's server doesn't answer. Try again later.")
        expect(answer.button("Try again")).to_be_visible()
