"""Accessibility: axe's rules, keyboard, reduced motion, no JavaScript, and a small screen."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Page, expect

from petiole.demo.system import System
from tests.browser.card import choose, export, first_card
from tests.browser.conftest import Visit
from tests.support.system import ROOT
from tests.support.waiting import wait_until

AXE = ROOT / "browser" / "node_modules" / "axe-core" / "axe.min.js"
LONG = "flights"
WIDE = {"width": 1000, "height": 900}
NARROW = {"width": 360, "height": 740}
SCHEMES: Final = ("light", "dark")
NARROWEST = {"width": 320, "height": 640}


def axe() -> str:
    if not AXE.exists():
        remedy = "The browser's tools aren't installed. Run: make setup"
        if os.environ.get("CI"):
            pytest.fail(remedy)
        pytest.skip(remedy)
    return Path(AXE).read_text(encoding="utf-8")


def violations(page: Page) -> list[str]:
    """axe's findings on the page, shadow roots included."""
    page.evaluate(axe())
    found: dict[str, Any] = page.evaluate("axe.run(document)")
    return [
        f"{each['id']}: {each['help']} at {[node['target'] for node in each['nodes']]}" for each in found["violations"]
    ]


def test_axe_finds_nothing_in_any_look(demo: System, visit: Visit) -> None:
    page = visit(demo.url).open()
    finished = export(page, "airlines")
    expect(finished.part("download")).to_be_visible()
    cancelled = export(page, LONG)
    cancelled.moves(1)
    cancelled.button("Cancel").click()
    expect(cancelled.button("Start again")).to_be_enabled()
    running = export(page, LONG)
    running.moves(1)
    running.root.get_by_text("Log", exact=True).click()
    expect(running.part("log-text").first).to_have_text("Queued")
    page.get_by_role("button", name="Add a filter").click()
    page.locator("#columns summary").click()
    found = {}
    for viewport in (WIDE, NARROW):
        page.set_viewport_size(viewport)
        for scheme in SCHEMES:
            # Without transitions, so that the colours are the final ones.
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            found[scheme, viewport["width"]] = violations(page)
    page.locator("#bell").click()
    expect(page.locator("#inbox")).to_be_visible()
    found["the inbox", NARROW["width"]] = violations(page)
    assert {look: each for look, each in found.items() if each} == {}
    page.keyboard.press("Escape")
    running.button("Cancel").click()
    expect(running.sentence).to_have_text(re.compile("^Cancelled"))


def focused(page: Page) -> str:
    """The name of the focused element, inside shadow roots too."""
    return str(
        page.evaluate(
            """() => {
              let active = document.activeElement;
              while (active?.shadowRoot?.activeElement) active = active.shadowRoot.activeElement;
              return (active?.getAttribute("aria-label") ?? active?.textContent ?? "").trim();
            }"""
        )
    )


def tab_to(page: Page, name: str) -> None:
    """Press Tab until this has the focus, and check that the focus is visible."""

    def there() -> bool:
        page.keyboard.press("Tab")
        return focused(page) == name

    wait_until(there, what=f"Tab reaches {name!r}", timeout=10)
    outline = page.evaluate(
        """() => {
          let active = document.activeElement;
          while (active.shadowRoot?.activeElement) active = active.shadowRoot.activeElement;
          return getComputedStyle(active).outlineStyle;
        }"""
    )
    assert outline != "none"


def test_everything_is_done_by_keyboard(demo: System, visit: Visit) -> None:
    page = visit(demo.url).open()
    choose(page, LONG)
    tab_to(page, "Export data")
    page.keyboard.press("Enter")
    expect(page.locator("petiole-task")).to_have_count(1)
    card = first_card(page)
    card.moves(1)
    tab_to(page, "Log")
    page.keyboard.press("Enter")
    expect(card.part("log-text").first).to_have_text("Queued")
    page.keyboard.press("Shift+Tab")
    assert focused(page) == "Cancel"
    page.keyboard.press("Enter")
    expect(card.sentence).to_have_text(re.compile("^Cancelled"))
    # The events haven't moved the focus.
    assert focused(page) == "Start again"


def test_a_file_is_reached_by_keyboard(demo: System, visit: Visit) -> None:
    page = visit(demo.url).open()
    card = export(page, "airlines")
    expect(card.part("download")).to_be_visible()
    page.locator("#table").focus()
    tab_to(page, "Download airlines.csv")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "airlines.csv"


def test_who_wants_less_motion_gets_none(demo: System, visit: Visit) -> None:
    page = visit(demo.url).open()
    card = export(page, LONG)
    card.moves(1)
    moving = """(task) => [...task.querySelectorAll("*")].some((each) => getComputedStyle(each).animationName !== "none")
      || getComputedStyle(task.querySelector(".fill")).transitionProperty === "inline-size" """
    assert card.part("task").evaluate(moving) is True
    page.emulate_media(reduced_motion="reduce")
    assert card.part("task").evaluate(moving) is False
    card.button("Cancel").click()
    expect(card.sentence).to_have_text(re.compile("^Cancelled"))


def test_without_javascript_there_is_a_bar_and_then_a_link(demo: System, visit: Visit) -> None:
    visitor = visit(demo.url)
    page = visitor.open()
    ended = export(page, "airports")
    expect(ended.part("download")).to_be_visible()
    running = export(page, LONG)
    running.moves(2)
    plain = visit(demo.url, java_script_enabled=False, storage_state=visitor.context.storage_state())
    without = plain.open()
    tasks = without.locator("petiole-task")
    expect(tasks).to_have_count(2)
    bar = tasks.first.locator("progress")
    expect(bar).to_be_visible()
    assert 0 < float(bar.get_attribute("value") or 0) < 1
    expect(tasks.first).to_contain_text("Running")
    expect(without.locator("form")).to_be_hidden()
    with without.expect_download() as download:
        tasks.nth(1).get_by_role("link", name="Download airports.csv").click()
    assert download.value.path().read_bytes().count(b"\n") > 1458
    running.button("Cancel").click()
    expect(running.sentence).to_have_text(re.compile("^Cancelled"))
    # With JavaScript the elements replace that content.
    page.reload()
    expect(page.locator("petiole-task")).to_have_count(2)
    expect(page.locator("petiole-task progress").first).to_be_hidden()


def test_on_the_smallest_screen_nothing_lies_beside_it(demo: System, visit: Visit) -> None:
    page = visit(demo.url, viewport=NARROWEST).open()
    card = export(page, LONG)
    card.moves(1)
    card.root.get_by_text("Log", exact=True).click()
    page.get_by_role("button", name="Add a filter").click()
    page.locator("#bell").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROWEST["width"]
    page.keyboard.press("Escape")
    card.button("Cancel").click()
    expect(card.sentence).to_have_text(re.compile("^Cancelled"))


def test_axe_would_find_a_button_without_a_name(demo: System, visit: Visit) -> None:
    page = visit(demo.url).open()
    page.evaluate("document.querySelector('main').append(document.createElement('button'))")
    assert [each.partition(":")[0] for each in violations(page)] == ["button-name"]


def test_what_the_policy_refuses_and_what_a_page_throws_would_be_heard(demo: System, visit: Visit) -> None:
    visitor = visit(demo.url)
    page = visitor.open()
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('style'), { textContent: 'p { color: red }' }))"
    )
    page.evaluate("setTimeout(() => { throw new Error('of the page') })")
    wait_until(lambda: page.evaluate("refusedByPolicy.length") > 0, what="the policy has refused a style", timeout=5)
    found = " ".join(visitor.complaints())
    assert all(part in found for part in ("page error: of the page", "console error: ", "style-src-elem: inline"))
    visitor.wrong.clear()
    page.close()
