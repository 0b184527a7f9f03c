"""Pages behind nginx while each of its three web processes is restarted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from petiole.journal.redis.journal import RedisJournal
from petiole.protocol.events import Draft, task_feed
from petiole.servers.processes import Processes
from petiole.servers.redis import free_port
from petiole.settings import Settings
from tests.browser.cable import cable_to
from tests.browser.card import Card
from tests.browser.conftest import READY, Visit
from tests.support.nginx import Site, answers, find_nginx, start_nginx
from tests.support.system import ROOT, start_redis

# A browser's own console message for each failed or refused request.
UNREACHED = ("net::ERR_", "WebSocket connection to", "status of 400", "status of 403", "status of 502")
START = """fetch("/start/talk", {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ args: [1] })
}).then((response) => response.json()).then((accepted) => accepted.id)"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """nginx and three web processes. There is no worker: the test itself appends events of the queued tasks."""
    find_nginx()
    log: list[str] = []
    processes = Processes(lambda name, line: log.append(f"{name}: {line}"))
    port, redis_port = free_port(), free_port()
    url = f"redis://127.0.0.1:{redis_port}/0"
    settings = {"PETIOLE_RECONNECT_SPREAD": "0.5", "PETIOLE_UNHEARD_AFTER": "600"}
    environment = {"CELERY_BROKER_URL": url, "PYTHONPATH": str(ROOT), **settings}
    try:
        start_redis(processes, redis_port, tmp_path)
        journal = RedisJournal(Settings(journal_url=url))
        application = "tests.browser.site:create_app()"
        made = Site(f"http://127.0.0.1:{port}", processes, application, environment, journal, {})
        webs = [free_port() for _ in range(3)]
        for web in webs:
            made.start_web(web)
        process = start_nginx(processes, tmp_path, port=port, webs=webs)
        processes.wait_ready(process, timeout=READY, condition=lambda: answers(port))
        yield made
    finally:
        processes.stop()
        print("\n".join(log[-100:]))


def opened(page: Page) -> tuple[str, Card]:
    """Start a task and go to its page; returns its feed, and its card with the log open."""
    task_id = page.evaluate(START)
    page.goto(f"{page.url}{task_id}")
    card = Card(page.locator("petiole-task"))
    expect(card.sentence).to_have_text("Waiting for a worker")
    card.root.get_by_text("Log", exact=True).click()
    return task_feed(task_id), card


def test_a_rolling_restart_loses_nothing_on_any_page(site: Site, visit: Visit) -> None:
    with cable_to(site.url) as cable:
        cable.block(websockets=False)
        over_websocket = opened(visit(site.url, expected=UNREACHED).open())
        over_polling = opened(visit(cable.url, expected=UNREACHED).open())
        said: list[str] = []

        def say_and_see() -> None:
            for _ in range(5):
                said.append(f"line {len(said)}")
                for feed, _ in (over_websocket, over_polling):
                    site.journal.append(feed, Draft("log", data={"level": "info", "message": said[-1]}))
            for _, card in (over_websocket, over_polling):
                expect(card.part("log-text")).to_have_text(["Queued", *said], timeout=30_000)

        for port in list(site.webs):
            site.stop_web(port)
            say_and_see()
            site.start_web(port)
            say_and_see()
        for feed, card in (over_websocket, over_polling):
            site.journal.append(feed, Draft("state", {"state": "cancelled"}))
            expect(card.part("receipt")).to_have_text(re.compile(r"^(\d+) of \1 events, none missing$"))
            card.wait_live()
        assert cable.upgraded == 0
