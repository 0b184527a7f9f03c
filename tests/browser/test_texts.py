"""Texts in a real browser: hostile text, the end that is followed, reloads, a second tab, a cancel, another run, copying."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.cable import cable_to
from tests.browser.card import Card
from tests.browser.conftest import Visit, Visitor
from tests.browser.hostile import MANUSCRIPT
from tests.browser.test_cases import COMPLETE, assert_no_markup
from tests.browser.test_links import UNREACHED
from tests.browser.test_people import NARROWEST, SCHEMES, WIDE, violations
from tests.support.waiting import wait_until

TO_END: Final = "(lines) => lines.scrollHeight - lines.scrollTop - lines.clientHeight"


def begin(visitor: Visitor, name: str, *args: Any) -> tuple[Page, str]:
    """Start a task as this visitor; returns a page of theirs and the task's id."""
    page = visitor.open()
    answer = page.request.post(f"{visitor.home}/start/{name}", data={"args": args, "title": None})
    assert answer.status == 202, answer.text()
    return page, str(answer.json()["id"])


def lines_of(page: Page) -> Locator:
    return page.locator("petiole-text [part='text-lines']")


def text_of(lines: Locator) -> str:
    return lines.text_content() or ""


def wait_for_text(lines: Locator, expected: str) -> None:
    wait_until(lambda: text_of(lines) == expected, what="the page has all of the text", timeout=30)


def test_hostile_text_is_shown_character_by_character_as_text(site: str, visit: Visit) -> None:
    visitor = visit(site)
    page, task = begin(visitor, "write_manuscript", 20, 0.02)
    page.goto(f"{site}/text/{task}")
    wait_for_text(lines_of(page), MANUSCRIPT * 20)
    expect(lines_of(page)).to_have_css("white-space", "pre-wrap")
    assert_no_markup(page)
    page.goto(f"{site}/{task}")
    card = Card(page.locator("petiole-task"))
    expect(card.part("text-label")).to_have_text(["Build log", "Output"])
    wait_for_text(card.part("text-lines").nth(1), MANUSCRIPT * 20)
    wait_for_text(card.part("text-lines").nth(0), "a line of the log\n" * 20)
    expect(card.part("receipt")).to_have_text(COMPLETE)
    assert_no_markup(page)


def test_a_reload_in_the_middle_and_a_second_tab_end_with_the_same_text(site: str, visit: Visit) -> None:
    visitor = visit(site)
    page, task = begin(visitor, "write_lines", 200, 60)
    expected = "".join(f"line {number}\n" for number in range(1, 201))
    page.goto(f"{site}/text/{task}")
    expect(lines_of(page)).to_contain_text("line 20\n")
    before = text_of(lines_of(page))
    page.reload()
    other = visitor.open(f"/text/{task}")
    wait_until(lambda: len(text_of(lines_of(page))) >= len(before), what="the text is back", timeout=20)
    for each in (page, other):
        wait_for_text(lines_of(each), expected)
        receipt = each.evaluate("document.querySelector('petiole-text').view.receipt")
        assert (receipt["complete"], receipt["texts"]["output"]["complete"]) == (True, True)


@pytest.mark.parametrize("way", ["cut", "plain http"])
def test_a_cut_cable_and_plain_http_alone_cost_a_text_nothing(site: str, visit: Visit, way: str) -> None:
    expected = "".join(f"line {number}\n" for number in range(1, 401))
    with cable_to(site) as cable:
        if way == "plain http":
            cable.block(websockets=False, sockets=False)
        visitor = visit(cable.url, expected=UNREACHED)
        page, task = begin(visitor, "write_lines", 400, 60)
        page.goto(f"{cable.url}/text/{task}")
        lines = lines_of(page)
        expect(lines).to_contain_text("line 20\n")
        if way == "cut":
            cable.cut()
            expect(page.locator("petiole-text [part='link']")).to_have_text("Reconnecting… the task continues")
            assert "line 400\n" not in text_of(lines)
            cable.mend()
        wait_for_text(lines, expected)
        page.wait_for_function("document.querySelector('petiole-text').view.ended")
        receipt = page.evaluate("document.querySelector('petiole-text').view.receipt")
        assert (receipt["complete"], receipt["texts"]["output"]) == (
            True,
            {"length": len(expected), "complete": True, "omitted": 0},
        )


def test_the_end_is_followed_until_the_person_scrolls_up(site: str, visit: Visit) -> None:
    page, task = begin(visit(site), "write_lines", 2000, 100)
    page.goto(f"{site}/text/{task}")
    lines = lines_of(page)
    expect(lines).to_contain_text("line 100\n")
    assert lines.evaluate(TO_END) < 24
    lines.hover()
    page.mouse.wheel(0, -400)
    wait_until(lambda: lines.evaluate(TO_END) > 300, what="the text is scrolled up", timeout=10)
    top = lines.evaluate("(lines) => lines.scrollTop")
    expect(lines).to_contain_text("line 200\n")
    assert lines.evaluate("(lines) => lines.scrollTop") == top
    page.mouse.wheel(0, 100_000)
    wait_until(lambda: lines.evaluate(TO_END) < 24, what="the end is shown", timeout=10)
    expect(lines).to_contain_text("line 300\n")
    wait_until(lambda: lines.evaluate(TO_END) < 24, what="the end is followed again", timeout=5)
    page.evaluate("document.querySelector('petiole-text').view.cancel()")
    expect(page.locator("petiole-text [part='text-note']:visible")).to_have_text("Incomplete: the task was cancelled.")
    kept = text_of(lines)
    page.reload()
    wait_for_text(lines, kept)
    # A text that has ended is read from its start.
    assert lines.evaluate("(lines) => lines.scrollTop") == 0
    expect(page.locator("petiole-text [part='text-note']:visible")).to_have_text("Incomplete: the task was cancelled.")


def test_axe_finds_nothing_in_a_text_that_grows_and_one_that_was_cancelled(site: str, visit: Visit) -> None:
    visitor = visit(site, bypass_csp=True)  # axe is a script of its own
    page, task = begin(visitor, "write_lines", 2000, 100)
    found = {}
    for path in (f"/text/{task}", f"/{task}"):
        page.goto(site + path)
        expect(page.locator("[part='text-lines']")).to_contain_text("line 50\n")
        for width in (WIDE, NARROWEST):
            page.set_viewport_size(width)
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                found[path, width["width"], scheme] = violations(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    Card(page.locator("petiole-task")).button("Cancel").click()
    expect(page.locator("[part='text-note']:visible")).to_have_text("Incomplete: the task was cancelled.")
    found["cancelled", NARROWEST["width"], SCHEMES[-1]] = violations(page)
    assert {look: each for look, each in found.items() if each} == {}


def test_another_run_begins_its_text_anew(site: str, visit: Visit) -> None:
    page, task = begin(visit(site), "write_again")
    page.goto(f"{site}/text/{task}")
    expect(lines_of(page)).to_have_text("half an ans")
    expect(page.locator("petiole-text [part='text-note']:visible")).to_have_text(
        "Incomplete: the task is to be run again."
    )
    expect(lines_of(page)).to_have_text("An answer.")
    expect(page.locator("petiole-text [part='text-note']:visible")).to_have_text("Run 2 begins anew.")


@pytest.mark.parametrize("secure", [True, False], ids=["clipboard", "selection"])
def test_copy_brings_the_text_byte_for_byte(site: str, visit: Visit, secure: bool) -> None:
    """By a button; without the clipboard's API, as on plain http, as well."""
    visitor = visit(site, permissions=["clipboard-read", "clipboard-write"])
    page, task = begin(visitor, "write_manuscript", 2, 0)
    if not secure:
        page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined, configurable: true })")
    page.goto(f"{site}/text/{task}")
    wait_for_text(lines_of(page), MANUSCRIPT * 2)
    focused = page.locator("petiole-text").get_by_role("button", name="Copy")
    focused.click()
    expect(page.locator("petiole-text [part='copy']")).to_have_text("Copied")
    expect(page.locator("petiole-text .text [role='status']")).to_have_text("Copied.")
    if not secure:
        page.evaluate("delete navigator.clipboard")
        page.evaluate(
            "Object.defineProperty(navigator, 'clipboard', "
            "{ get: Object.getOwnPropertyDescriptor(Navigator.prototype, 'clipboard').get })"
        )
    # The system's clipboard ends at the first NUL, and may write a line's end its own way.
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.split("\0")[0] == MANUSCRIPT.split("\0")[0]


def test_a_text_at_its_limit_is_on_the_page_and_says_what_was_omitted(site: str, visit: Visit) -> None:
    page, task = begin(visit(site), "write_manuscript", 9000, 0)
    page.goto(f"{site}/text/{task}")
    wait_until(
        lambda: page.evaluate("document.querySelector('petiole-text').view?.ended === true"),
        what="the task has ended",
        timeout=60,
    )
    receipt = page.evaluate("document.querySelector('petiole-text').view.receipt.texts.output")
    assert receipt["complete"]
    wait_until(
        lambda: len(text_of(lines_of(page)).encode()) == receipt["length"], what="all of it is on the page", timeout=30
    )
    assert receipt["omitted"] > 0
    expect(page.locator("petiole-text [part='text-note']:visible")).to_have_text(
        re.compile(r"past the limit were omitted\.$")
    )
