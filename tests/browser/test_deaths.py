"""The worker is killed from the page, and the page reports it truthfully."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from petiole.demo.system import System
from tests.browser.card import export
from tests.browser.conftest import Visit

LONG = "flights"


def test_a_killed_process_fails_its_task_with_a_sentence_and_it_can_be_retried(demo: System, visit: Visit) -> None:
    page = visit(demo.url).open()
    card = export(page, LONG)
    card.moves(1)
    page.get_by_role("button", name="Kill the process").click()
    expect(card.failure).to_contain_text("The process that ran the task died.")
    expect(page.locator("#broken")).to_contain_text("have been killed")
    retry = card.button("Retry")
    expect(retry).to_be_enabled()
    card.root.get_by_role("button", name="Retry").click()
    expect(page.locator("petiole-task")).to_have_count(1)
    page.locator("petiole-task").get_by_role("button", name="Cancel").click()
    expect(page.locator("petiole-task [part='sentence']")).to_have_text(re.compile("^Cancelled"))


def test_of_a_killed_worker_the_page_says_silence_then_loss_and_the_next_worker_takes_the_retry(
    demo: System, visit: Visit
) -> None:
    page = visit(demo.url).open()
    card = export(page, LONG)
    card.moves(1)
    page.get_by_role("button", name="Kill the worker").click()
    expect(page.locator("#broken")).to_have_text("The worker has been killed. Another one starts in 5 s.")
    expect(card.sentence).to_have_text(re.compile(r"^No news from the worker"))
    assert card.part("task").get_attribute("data-bar") == "stalled"
    expect(card.failure).to_have_text(re.compile(r"^The worker disappeared at \d+.%$"))
    card.button("Retry").click()
    again = page.locator("petiole-task")
    expect(again).to_have_count(1)
    expect(again.locator("[part='bar']")).to_have_attribute("aria-valuenow", re.compile(r"\d"), timeout=40_000)
    again.get_by_role("button", name="Cancel").click()
    expect(again.locator("[part='sentence']")).to_have_text(re.compile("^Cancelled"))


def test_only_the_page_may_kill_and_only_what_is_the_workers(demo: System, visit: Visit) -> None:
    requests = visit(demo.url).open().request
    assert requests.post(f"{demo.url}/breakage", data={"kill": "redis"}).status == 422
    assert requests.post(f"{demo.url}/breakage", data="kill").status == 422
    foreign = {"Origin": "https://elsewhere.example"}
    assert requests.post(f"{demo.url}/breakage", data={"kill": "worker"}, headers=foreign).status == 403
