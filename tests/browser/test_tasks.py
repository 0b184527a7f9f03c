"""`<petiole-tasks>` on a page of an application without its own list."""

from __future__ import annotations

import re
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.browser.card import Card
from tests.browser.conftest import Visit, Visitor
from tests.browser.lists import picture
from tests.browser.states import SCHEMES
from tests.browser.test_people import focused, tab_to, violations
from tests.browser.test_states import LARGEST


def start(visitor: Visitor, page: Page, name: str, *args: Any, title: str) -> str:
    """Start a task as this visitor, bypassing the list's own client."""
    answer = page.request.post(f"{visitor.home}/start/{name}", data={"args": args, "title": title})
    assert answer.status == 202, answer.text()
    return str(answer.json()["id"])


def rows(page: Page) -> Locator:
    return page.locator("petiole-tasks petiole-task")


def titles(page: Page) -> Locator:
    return page.locator("petiole-tasks [part='title']")


def test_a_reload_brings_back_what_was_started_and_each_row_goes_on(site: str, visit: Visit) -> None:
    visitor = visit(site)
    page = visitor.open("/tasks")
    expect(page.locator("petiole-tasks [part='empty']")).to_contain_text("No tasks yet.")
    start(visitor, page, "speak_markup", "fail", title="Fails")
    # Started without the list's own client, which would show it at once: it appears by itself only after some seconds.
    page.evaluate("document.querySelector('petiole-tasks').refresh()")
    expect(titles(page)).to_have_text(["Fails"])
    start(visitor, page, "count_without_a_total", 60, title="Counts")
    page.reload()
    expect(titles(page)).to_have_text(["Counts", "Fails"])
    counts, fails = (Card(row) for row in rows(page).all())
    expect(fails.button("Retry")).to_be_visible()
    expect(counts.sentence).to_have_text(re.compile(r"^Counting files… [\d,]+ so far$"))
    heights = [card.root.bounding_box()["height"] for card in (counts, fails)]  # type: ignore[index]
    assert max(heights) < 70

    counts.button("Cancel").click()
    expect(counts.sentence).to_have_text("Cancelled")
    page.get_by_label("Show").select_option("Cancelled")
    expect(titles(page)).to_have_text(["Counts"])
    again = Card(rows(page).first)
    again.button("Start again").click()
    # The new task replaces the old one; it isn't cancelled, so it leaves the list.
    expect(titles(page)).to_have_count(0)
    page.get_by_label("Show").select_option("All")
    expect(titles(page)).to_have_text(["Counts", "Counts", "Fails"])
    first = Card(rows(page).first)
    first.button("Cancel").click()
    expect(first.sentence).to_have_text("Cancelled")


def test_older_tasks_and_details_are_reached_by_keyboard_and_axe_finds_nothing(site: str, visit: Visit) -> None:
    visitor = visit(site)
    page = visitor.open("/tasks?limit=2")
    for number in range(3):
        start(visitor, page, "talk", 1, title=f"Talk {number}")
    page.reload()
    expect(titles(page)).to_have_text(["Talk 2", "Talk 1"])
    tab_to(page, "Details")
    page.keyboard.press("Enter")
    first = Card(rows(page).first)
    expect(first.part("log-text").last).to_have_text("Finished")
    expect(first.part("receipt")).to_have_text(re.compile(r"^(\d+) of \1 events, none missing$"))
    expect(first.part("receipt")).to_be_visible()
    expect(Card(rows(page).nth(1)).part("receipt")).to_be_hidden()
    tab_to(page, "Load more")
    page.keyboard.press("Enter")
    expect(titles(page)).to_have_text(["Talk 2", "Talk 1", "Talk 0"])
    assert focused(page) == "Load more"
    expect(page.locator("petiole-tasks [part='load']")).to_be_disabled()
    expect(page.locator("petiole-tasks section > [role='status']")).to_have_text("1 more")

    found = {}
    for width in (1000, 320):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            found[scheme, width] = violations(page)
    assert {look: each for look, each in found.items() if each} == {}


def test_the_pictures_of_the_list_are_small() -> None:
    assert all(picture(scheme).stat().st_size <= LARGEST for scheme in SCHEMES)
