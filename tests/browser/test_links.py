"""The page while the connection to the server is cut or restricted, and when it is restored."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from petiole.demo.system import System
from tests.browser.cable import Cable, cable_to
from tests.browser.card import Card, export, first_card
from tests.browser.conftest import Visit
from tests.support.waiting import wait_until

LONG = "flights"
RECONNECTING = "Reconnecting… the task continues"
POLLING = "Live updates are blocked here; checking every 3 s"
OFFLINE = "You are offline; we will catch up"
# A browser's own console message for each failed connection.
UNREACHED = ("net::ERR_", "WebSocket connection to", "status of 403", "due to access control checks")


def wait_until_live(card: Card) -> None:
    expect(card.part("link")).to_be_hidden()


def stop(card: Card) -> None:
    """Free the worker for the next test."""
    card.button("Cancel").click()
    expect(card.sentence).to_have_text(re.compile("^Cancelled"))


def test_a_cut_cable_is_said_and_what_was_missed_is_read(demo: System, cable: Cable, visit: Visit) -> None:
    visitor = visit(cable.url, expected=UNREACHED)
    page = visitor.open()
    card = export(page, LONG)
    before = card.moves(1)[-1]
    cable.cut()
    visitor.context.set_offline(True)
    expect(card.part("link")).to_have_text(OFFLINE)
    expect(card.sentence).to_contain_text("rows")  # the task's own words stay
    cable.mend()
    visitor.context.set_offline(False)
    wait_until_live(card)
    assert card.moves(2)[0] >= before
    stop(card)
    expect(card.part("receipt")).to_have_text(re.compile(r"^(\d+) of \1 events, none missing$"))


def test_a_server_that_is_away_is_waited_for(demo: System, cable: Cable, visit: Visit) -> None:
    page = visit(cable.url, expected=UNREACHED).open()
    card = export(page, LONG)
    card.moves(1)
    cable.cut()
    expect(card.part("link")).to_have_text(RECONNECTING)
    cable.mend()
    wait_until_live(card)
    card.moves(2)
    stop(card)


def test_without_websockets_news_come_by_long_polling(demo: System, cable: Cable, visit: Visit) -> None:
    cable.block(websockets=False)
    page = visit(cable.url, expected=UNREACHED).open()
    card = export(page, LONG)
    card.moves(3)
    wait_until_live(card)
    assert cable.upgraded == 0
    assert any("transport=polling" in head for head in cable.heads)
    assert not any("/petiole/tasks/" in head for head in cable.heads)
    stop(card)


def test_by_long_polling_a_page_of_forty_tasks_is_told_of_each(site: str, visit: Visit) -> None:
    with cable_to(site) as cable:
        cable.block(websockets=False)
        visitor = visit(cable.url, expected=UNREACHED)
        page = visitor.open()
        posted: list[str] = []
        page.on("request", lambda request: posted.append(request.post_data or ""))
        # All of them ask at the same moment, in one request.
        page.evaluate(
            """async () => {
              const start = () => fetch("/start/talk", {
                method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ args: [1] })
              });
              const started = await Promise.all(Array.from({ length: 40 }, start));
              for (const { id } of await Promise.all(started.map((response) => response.json()))) {
                const element = document.createElement("petiole-task");
                element.setAttribute("task", id);
                document.querySelector("main").append(element);
              }
            }"""
        )
        expect(page.locator("petiole-task [part='receipt']")).to_have_text([re.compile("none missing$")] * 40)
        assert cable.upgraded == 0
        # A page without an answer asks again.
        assert sum(text.count('["watch",{"feed":"task:') for text in posted) == 40
        assert max(text.count('["watch"') for text in posted) > 16
        assert not any("/petiole/tasks/" in head for head in cable.heads)


def test_with_plain_http_alone_the_page_asks_and_comes_back_to_the_socket(
    demo: System, cable: Cable, visit: Visit
) -> None:
    cable.block(websockets=False, sockets=False)
    page = visit(cable.url, expected=UNREACHED).open()
    # The worker runs two at a time: the third is queued, and has no events.
    ended, running, waiting = [export(page, LONG) for _ in range(3)]
    answers: list[int] = []
    path = f"/petiole/tasks/{waiting.root.get_attribute('data-id')}"
    page.on("response", lambda response: answers.append(response.status) if response.url.endswith(path) else None)
    for card in (ended, running, waiting):
        expect(card.part("link")).to_have_text(POLLING)
    expect(waiting.sentence).to_have_text("Waiting for a worker")

    def unchanged() -> bool:
        page.evaluate("0")  # lets the answers arrive
        return 304 in answers

    wait_until(unchanged, what="a poll was answered with 304", timeout=20)
    for card in (waiting, ended):
        stop(card)
    ended.root.get_by_text("Log", exact=True).click()
    expect(ended.part("log-text").last).to_have_text("Cancelled")
    running.moves(1)
    cable.block()
    wait_until_live(running)
    running.moves(2)
    assert cable.upgraded >= 1
    assert set(answers) <= {200, 304}
    stop(running)


def test_the_button_cuts_the_cable_of_this_tab_only(demo: System, visit: Visit) -> None:
    visitor = visit(demo.url)
    page, other = visitor.open(), visitor.open()
    expect(other.locator("#empty")).to_be_visible()
    card = export(page, LONG)
    card.moves(1)
    page.get_by_role("button", name="Cut the cable").click()
    expect(page.locator("#broken")).to_have_text("This tab has no connection for 8 s. The exports go on.")
    expect(card.part("link")).to_have_text(RECONNECTING)
    first_card(other).moves(2)
    expect(page.locator("#broken")).to_have_text("Connected again. What was missed has been read.")
    wait_until_live(card)
    card.moves(2)
    stop(card)
    expect(card.part("receipt")).to_have_text(re.compile(r"^(\d+) of \1 events, none missing$"))
