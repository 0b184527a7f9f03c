"""A page of another origin, without a session: the element's attributes `url` and `token`."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from flask_socketio import SocketIO
from playwright.sync_api import expect

from petiole import Petiole
from tests.browser.card import Card
from tests.browser.conftest import Visit
from tests.support.nearby import Nearby, make_app, served
from tests.support.open_group import OpenGroup
from tests.support.redis import RedisServer


@dataclass
class Elsewhere:
    """A server of static pages on another origin, and the application with the tasks."""

    url: str
    pages: dict[str, str]
    petiole: Petiole = field(default_factory=Petiole)
    tasks: Nearby | None = None

    def page(self, feed: str, **attributes: str) -> str:
        """Create a page with the element, and return its path."""
        assert self.tasks is not None
        given = "".join(f' {name}="{value}"' for name, value in attributes.items())
        task = feed.removeprefix("task:")
        path = f"/{len(self.pages)}"
        self.pages[path] = (
            f'<!doctype html><html lang="en"><title>Elsewhere</title><link rel="icon" href="data:,">'
            f'<script src="{self.tasks.url}/petiole/static/petiole.js"></script>'
            f'<main><petiole-task task="{task}"{given}></petiole-task></main>'
        )
        return path

    def token(self, feed: str, *actions: str) -> str:
        assert self.tasks is not None
        with self.tasks.app.app_context():
            return self.petiole.token(feed, actions=actions)


@pytest.fixture
def elsewhere(own_redis: RedisServer) -> Iterator[Elsewhere]:
    pages: dict[str, str] = {}

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = pages.get(self.path, "").encode()
            self.send_response(200 if text else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    made = Elsewhere(f"http://localhost:{server.server_port}", pages)
    socketio = SocketIO(async_mode="threading", cors_allowed_origins=[made.url])
    try:
        with served(make_app(own_redis.url, made.petiole, socketio=socketio)) as tasks:
            made.tasks = tasks
            yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def test_a_task_is_followed_and_cancelled_with_a_token_and_the_servers_address(
    elsewhere: Elsewhere, visit: Visit
) -> None:
    assert elsewhere.tasks is not None
    feed = elsewhere.tasks.open()
    token = elsewhere.token(feed, "watch", "cancel")
    page = visit(elsewhere.url).open(elsewhere.page(feed, url=elsewhere.tasks.url, token=token))
    card = Card(page.locator("petiole-task"))
    expect(card.sentence).to_have_text("Waiting for a worker")
    card.root.get_by_text("Log", exact=True).click()
    elsewhere.tasks.say(feed, "hello over there")
    expect(card.part("log-text").last).to_have_text("hello over there")
    card.button("Cancel").click()
    expect(card.sentence).to_have_text(re.compile("^Cancelled"))
    expect(card.part("receipt")).to_have_text(re.compile(r"^(\d+) of \1 events, none missing$"))


def test_without_a_token_or_with_that_of_another_task_there_is_no_such_task(elsewhere: Elsewhere, visit: Visit) -> None:
    assert elsewhere.tasks is not None
    feed, other = elsewhere.tasks.open(), elsewhere.tasks.open()
    visitor = visit(elsewhere.url)
    for attributes in ({}, {"token": elsewhere.token(other, "watch")}):
        page = visitor.open(elsewhere.page(feed, url=elsewhere.tasks.url, **attributes))
        card = Card(page.locator("petiole-task"))
        expect(card.root).to_contain_text("There is no such task here, or it isn't yours.")


def test_a_token_that_only_watches_does_not_cancel(elsewhere: Elsewhere, visit: Visit) -> None:
    assert elsewhere.tasks is not None
    feed = elsewhere.tasks.open()
    attributes = {"url": elsewhere.tasks.url, "token": elsewhere.token(feed, "watch")}
    card = Card(visit(elsewhere.url).open(elsewhere.page(feed, **attributes)).locator("petiole-task"))
    card.button("Cancel").click()
    expect(card.root).to_contain_text("token")
    expect(card.sentence).to_have_text("Waiting for a worker")


def test_a_group_is_shown_on_another_origin_with_its_list(elsewhere: Elsewhere, visit: Visit) -> None:
    assert elsewhere.tasks is not None
    group = OpenGroup(elsewhere.tasks.journal, 3)
    token = elsewhere.token(group.feed, "watch")
    page = visit(elsewhere.url).open(elsewhere.page(group.feed, url=elsewhere.tasks.url, token=token))
    card = Card(page.locator("petiole-task"))
    group.begin(0, 1)
    card.root.get_by_text("Tasks", exact=True).click()
    expect(card.part("child-name")).to_have_text(["Task 1", "Task 2"])
