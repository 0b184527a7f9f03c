"""The examples, as their readers use them: click, start again, reload."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.card import Card
from tests.browser.conftest import Visit
from tests.integration.test_article_example import example
from tests.support.examples import running_example

# They have no icon, which a browser requests by itself.
NO_ICON = ("status of 404",)


def only_card(page: Page) -> Card:
    expect(page.locator("petiole-task")).to_have_count(1)
    return Card(page.locator("petiole-task"))


def test_a_reload_of_the_smallest_application_shows_the_task_that_was_started_again(
    visit: Visit, tmp_path: Path
) -> None:
    with running_example("minimal", tmp_path) as minimal:
        page = visit(minimal.url, expected=NO_ICON).open()
        page.get_by_role("button", name="Count to 1,000").click()
        card = only_card(page)
        card.moves(2)
        first = page.url
        card.button("Cancel").click()
        expect(card.sentence).to_have_text(re.compile("^Cancelled"))
        card.button("Start again").click()
        expect(page).not_to_have_url(first)
        second = page.url
        page.reload()
        expect(page).to_have_url(second)
        card = only_card(page)
        card.moves(2)
        expect(card.part("receipt")).to_have_text(re.compile("none missing$"), timeout=30_000)


def test_the_button_of_the_plain_pattern_moves_its_bar(visit: Visit, tmp_path: Path) -> None:
    with example("plain", tmp_path) as url:
        page = visit(url, expected=NO_ICON).open()
        # The room is this browser's; events from before it has joined are lost, which is the pattern's limit.
        page.wait_for_function("socket.connected")
        page.get_by_role("button", name="Export data").click()
        expect(page.locator("#said")).to_have_text("Your export is ready.")
        assert page.locator("#bar").evaluate("bar => bar.value") == 100


def test_the_same_application_on_petiole_shows_its_tasks_again_after_a_reload(visit: Visit, tmp_path: Path) -> None:
    with example("with_petiole", tmp_path) as url:
        page = visit(url, expected=NO_ICON).open()
        page.get_by_role("button", name="Export data").click()
        expect(page.locator("petiole-task")).to_have_count(1)
        page.reload()
        expect(page.locator("petiole-task")).to_have_count(1)
        expect(page.locator("petiole-task")).to_contain_text("Your export is ready.")
