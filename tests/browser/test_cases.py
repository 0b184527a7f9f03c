"""Hard cases on a separate page, under `default-src 'self'`: hostile text, force, another run, an unknown total."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.card import Card
from tests.browser.conftest import Visit, Visitor
from tests.browser.hostile import HOSTILE

COMPLETE = re.compile(r"^(\d+) of \1 events, none missing$")


def start(visitor: Visitor, name: str, *args: Any, title: str | None = None) -> Card:
    """Start a task as this visitor, and show it."""
    page = visitor.open()
    answer = page.request.post(f"{visitor.home}/start/{name}", data={"args": args, "title": title})
    assert answer.status == 202, answer.text()
    page.goto(f"{visitor.home}/{answer.json()['id']}")
    return Card(page.locator("petiole-task"))


def assert_no_markup(page: Page) -> None:
    foreign = page.evaluate(
        """() => {
          const roots = [document, ...[...document.querySelectorAll("*")].map((each) => each.shadowRoot)];
          return roots.filter(Boolean).flatMap((root) => [...root.querySelectorAll("img, b")]).length;
        }"""
    )
    assert foreign == 0


@pytest.mark.parametrize("how", ["fail", "file", "script"])
def test_markup_in_any_field_is_text(site: str, visit: Visit, how: str) -> None:
    visitor = visit(site)
    card = start(visitor, "speak_markup", how, title=HOSTILE)
    expect(card.part("title").first).to_have_text(HOSTILE)
    card.root.get_by_text("Log", exact=True).click()
    texts = card.part("log-text")
    expect(texts.nth(2)).to_have_text(HOSTILE)
    expect(texts.nth(3)).to_have_text(f"⚠ {HOSTILE}")
    expect(texts.nth(5)).to_contain_text(HOSTILE)
    if how == "fail":
        expect(card.failure).to_contain_text(HOSTILE)
    else:
        expect(card.part("receipt")).to_have_text(COMPLETE)
        expect(card.part("download")).to_be_visible(visible=how == "file")
        if how == "file":
            expect(card.part("file")).to_have_text(HOSTILE)
    page = card.root.page
    assert_no_markup(page)
    # The inbox has the same title, for a user who returns later.
    assert_no_markup(visitor.open())


def test_a_page_gives_the_element_its_colours_its_style_and_a_button(site: str, visit: Visit) -> None:
    visitor = visit(site, bypass_csp=True)  # this tests the page's own style
    card = start(visitor, "speak_markup", "file")
    expect(card.part("download")).to_be_visible()
    page = card.root.page
    assert card.root.locator(".task").evaluate("(each) => getComputedStyle(each).borderRadius") != "3px"
    page.add_style_tag(
        content="petiole-task { --petiole-accent: rgb(1, 2, 3); --petiole-radius: 3px }"
        "petiole-task::part(sentence) { text-transform: uppercase }"
    )
    # The colour changes by a transition.
    expect(card.part("download")).to_have_css("background-color", "rgb(1, 2, 3)")
    expect(card.root.locator(".task")).to_have_css("border-radius", "3px")
    expect(card.sentence).to_have_css("text-transform", "uppercase")
    button = page.get_by_role("button", name="Share")
    page.evaluate(
        """() => {
          const button = Object.assign(document.createElement("button"), { textContent: "Share", slot: "actions" });
          document.querySelector("petiole-task").append(button, document.createElement("hr"));
        }"""
    )
    expect(button).to_be_visible()
    # Content without a slot is for pages without JavaScript.
    expect(card.root.locator("hr")).to_be_hidden()


def test_a_task_that_hears_nothing_is_stopped_by_force(site: str, visit: Visit) -> None:
    card = start(visit(site), "hear_nothing")
    expect(card.bar).not_to_have_attribute("aria-valuenow", re.compile(r"\d"))
    card.button("Cancel").click()
    expect(card.sentence).to_have_text("Stopping…")
    expect(card.button("Cancel")).to_be_disabled()
    expect(card.part("detail")).to_have_text("It has not stopped by itself yet.")
    card.button("Force stop").click()
    expect(card.sentence).to_have_text(re.compile("^Cancelled"))
    expect(card.part("receipt")).to_have_text(COMPLETE)


def test_another_run_is_counted_down_to_and_said(site: str, visit: Visit) -> None:
    card = start(visit(site), "fail_once")
    expect(card.sentence).to_have_text(re.compile(r"^Run 2 starts in [1-4].s"))
    assert card.value() == 40
    expect(card.part("receipt")).to_have_text(COMPLETE)
    expect(card.sentence).to_have_text("100 files")
    card.root.get_by_text("Log", exact=True).click()
    expect(card.part("log-text").filter(has_text="Run 2 started")).to_have_count(1)


def test_while_the_total_is_unknown_the_bar_has_no_value(site: str, visit: Visit) -> None:
    card = start(visit(site), "count_without_a_total", 20)
    expect(card.sentence).to_have_text(re.compile(r"^Counting files… [\d,]+ so far$"))
    expect(card.bar).not_to_have_attribute("aria-valuenow", re.compile(r"\d"))
    card.button("Cancel").click()
    expect(card.sentence).to_have_text("Cancelled")


def test_the_log_is_bounded_and_stays_where_a_reader_stands(site: str, visit: Visit) -> None:
    card = start(visit(site), "talk", 300)
    expect(card.part("receipt")).to_have_text(COMPLETE)
    card.root.get_by_text("Log", exact=True).click()
    expect(card.part("log-text").last).to_have_text("Finished")
    expect(card.part("log-text")).to_have_count(200)
    expect(card.part("log-note")).to_have_text("Only the newest 200 lines are shown.")
    expect(card.part("log-text").last).to_be_in_viewport()
