"""Every state is distinguishable, and docs/states.md agrees with the elements."""

from __future__ import annotations

import re
from typing import Final

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.states import CASES, PAGE, PICTURES, SCHEMES, WIDTHS, document, open_page, picture, show, words

LARGEST = 60_000
# The shown task ends, and can't be started again.
END: Final = """
() => {
  const { view } = document.querySelector("petiole-task");
  view.document = { ...view.document, state: "cancelled", finished_at: Date.now() };
  view.ended = true;
}
"""

Said = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def said(browser: Browser) -> Said:
    page = open_page(browser, width=WIDTHS["wide"], scheme="light")
    try:
        return {case.name: show(page, case) for case in CASES}
    finally:
        page.context.close()


def test_the_documented_words_are_those_of_the_elements(said: Said) -> None:
    assert PAGE.read_text(encoding="utf-8") == document(said), "Run: python -m tests.browser.states"


def test_no_two_states_say_the_same(said: Said) -> None:
    # A group may say what a single task says: it waits, and is being stopped. An open drawer is no state.
    told = [
        (case.name.startswith("group-"), *words(said[case.name]))
        for case in CASES
        if case.name not in ("log", "group-tasks")
    ]
    assert len(set(told)) == len(told)


def test_no_two_states_of_a_task_have_the_same_shape(said: Said) -> None:
    states = (
        "queued",
        "running",
        "stalled",
        "retrying",
        "cancelling",
        "cancelled",
        "failed",
        "lost",
        "done",
        "expired",
    )
    assert len({said[name]["icon"] for name in states}) == len(states)


def test_a_bar_has_a_value_exactly_while_there_is_one(said: Said) -> None:
    with_value = {name for name, each in said.items() if each["value"] is not None}
    # The bar of a finished task is hidden; its value doesn't matter.
    without = {"queued", "counting", "exceeded", "refused", "group-queued"}
    assert with_value >= {case.name for case in CASES} - without - {"expired"}
    assert not with_value & without


def test_a_card_is_as_high_in_every_state_that_a_task_goes_through(browser: Browser) -> None:
    page = open_page(browser, width=WIDTHS["wide"], scheme="light")
    heights: dict[str, dict[str, float]] = {}
    for case in CASES:
        # A long sentence takes two lines; an open drawer and a group's errors take more.
        if case.name not in ("failed", "log", "refused", "group-running", "group-tasks", "group-failed"):
            show(page, case)
            kind = "task" if "children" not in case.document.get("progress", {}) else "group"
            kind = "chain" if "steps" in case.document else kind
            height = page.locator("petiole-task").bounding_box()["height"]  # type: ignore[index]
            heights.setdefault(kind, {})[case.name] = height
    page.context.close()
    assert all(len(set(each.values())) == 1 for each in heights.values()), heights


def test_a_cancel_that_has_the_focus_at_the_end_looks_disabled_and_goes_when_it_is_left(browser: Browser) -> None:
    page = open_page(browser, width=WIDTHS["wide"], scheme="light")
    show(page, next(case for case in CASES if case.name == "running"))
    button = page.get_by_role("button", name="Cancel")
    button.focus()
    page.evaluate(END)
    page.clock.run_for(2_000)
    expect(page.locator("[part=sentence]")).to_contain_text("Cancelled at")
    expect(button).to_be_focused()
    expect(button).to_be_disabled()
    expect(button).to_have_css("border-top-color", "rgba(0, 0, 0, 0)")
    expect(button).to_have_css("color", re.compile(r"/ 0\.6\)$"))
    page.keyboard.press("Tab")
    page.clock.run_for(2_000)
    expect(button).to_be_hidden()
    page.context.close()


def test_every_state_has_its_pictures_and_they_are_small() -> None:
    expected = {picture(case, form, scheme) for case in CASES for form in WIDTHS for scheme in SCHEMES}
    assert {path for path in PICTURES.iterdir() if path.suffix == ".png"} == expected
    assert all(path.stat().st_size <= LARGEST for path in expected)
