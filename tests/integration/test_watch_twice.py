"""Two elements of one page that show the same task: their watches arrive before the task is followed."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import socketio

from petiole import Petiole
from tests.support.nearby import make_app, served
from tests.support.waiting import wait_until

NAMESPACE = "/petiole"


def test_the_answer_to_the_second_watch_is_read_once_the_task_is_followed_too(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(redis_url, Petiole())
    bus = app.extensions["petiole"].relay._bus
    follow, followed, released = bus.follow, list[str](), threading.Event()

    def follow_late(feed: str, *, timeout: float) -> bool:
        followed.append(feed)
        assert released.wait(20)
        return bool(follow(feed, timeout=timeout))

    monkeypatch.setattr(bus, "follow", follow_late)
    answers: list[dict[str, Any]] = []
    with served(app) as site:
        feed = site.open("user:ann")
        page = socketio.Client(reconnection=False)
        page.connect(site.url, headers={"X-Person": "ann"}, namespaces=[NAMESPACE], transports=["websocket"])
        try:
            for _ in range(2):
                page.emit("watch", {"feed": feed}, namespace=NAMESPACE, callback=answers.append)
            wait_until(lambda: len(followed) + len(answers) == 2, what="both watches have arrived")
            site.say(feed, "before it is followed")
            released.set()
            wait_until(lambda: len(answers) == 2, what="both are answered")
        finally:
            page.disconnect()
    messages = [[event["data"] and event["data"]["message"] for event in answer["events"][1:]] for answer in answers]
    assert messages == [["before it is followed"]] * 2
