"""The card of a group in a real Chromium: its bar, its words, its list of tasks, and what a page pays for them."""

from __future__ import annotations

import itertools
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from flask import Flask, Response, make_response, render_template_string, request
from markupsafe import Markup
from playwright.sync_api import Locator, Page, Route, expect

from petiole import Petiole
from petiole.journal.groups import Contribution
from petiole.web.http.assets import assets
from tests.browser.card import Card
from tests.browser.conftest import Visit
from tests.browser.site import POLICY
from tests.browser.test_people import NARROW, SCHEMES, WIDE, axe, focused, tab_to, violations
from tests.conftest import any_redis_binary
from tests.support.group_site import GroupSite, serving_groups
from tests.support.open_group import OpenGroup
from tests.support.redis import RedisServer
from tests.support.waiting import wait_until

PERSON: Final = "ann"
GROUP_FILE: Final = "petiole-group.js"
MOST_ROWS: Final = 60
REFRESH: Final = 2.0

PAGE: Final = """<!doctype html>
<html lang="en">
<title>A group</title>
<link rel="icon" href="data:,">
{% if csp_nonce %}{{ petiole_assets() }}{% else -%}
<script src="{{ url_for('petiole.static', filename='petiole.js', v='2.1') }}" {{ how }}></script>
{%- endif %}
<main>
  <h1>A group</h1>
  {% if listed %}<petiole-tasks></petiole-tasks>{% else %}<petiole-task task="{{ task_id }}"></petiole-task>{% endif %}
  <petiole-inbox></petiole-inbox>
</main>
</html>
"""
# Counts what the page is told and how often the card is drawn.
COUNT: Final = """
() => {
  const card = document.querySelector("petiole-task");
  globalThis.counted = { events: 0, draws: 0 };
  card.addEventListener("petiole-change", () => counted.events += 1);
  const kind = customElements.get("petiole-task").prototype;
  const draw = kind.draw;
  kind.draw = function (nodes) { counted.draws += 1; return draw.call(this, nodes); };
}
"""


def add_page(app: Flask, petiole: Petiole) -> None:
    # A browser sends cookies with the handshake of a WebSocket too.
    petiole.identify(lambda: request.cookies.get("person"))

    @app.get("/")
    @app.get("/<task_id>")
    def page(task_id: str | None = None) -> Response:
        how = {"module": 'type="module"', "defer": "defer", "async": "async"}.get(request.args.get("how", ""), "")
        nonce = secrets.token_hex() if request.args.get("how") == "nonce" else None
        text = render_template_string(PAGE, task_id=task_id, listed=task_id is None, how=Markup(how), csp_nonce=nonce)
        response = make_response(text)
        # With a nonce, not even the page's own origin may serve a script without it.
        scripts = f"; script-src 'nonce-{nonce}'" if nonce else ""
        response.headers["Content-Security-Policy"] = f"{POLICY}; img-src data:{scripts}"
        return response


@pytest.fixture(scope="module")
def group_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GroupSite]:
    redis = RedisServer(any_redis_binary(), tmp_path_factory.mktemp("redis"), append_only=False)
    redis.start()
    try:
        with serving_groups(redis.url, add_page) as group_site:
            yield group_site
    finally:
        redis.kill()


@dataclass
class Shown:
    """A group on a page."""

    group: OpenGroup
    page: Page
    card: Card

    @property
    def drawer(self) -> Locator:
        return self.card.root.get_by_text("Tasks", exact=True)

    def asked(self) -> list[float]:
        """When the page has asked for tasks, in seconds."""
        times: list[float] = self.page.evaluate(
            """performance.getEntriesByType("resource").filter(({ name }) => name.includes("/children?"))
              .map(({ startTime }) => startTime / 1000)"""
        )
        return times

    def numbers(self) -> dict[str, int]:
        counts: dict[str, int] = self.page.evaluate("counted")
        return counts


Show = Callable[..., Shown]


@pytest.fixture
def show(group_site: GroupSite, visit: Visit) -> Show:
    def show(number: int, *, expected: tuple[str, ...] = (), **fields: Any) -> Shown:
        group = OpenGroup(group_site.journal, number, owner=f"user:{PERSON}", **fields)
        visitor = visit(group_site.url, expected=expected)
        visitor.context.add_cookies([{"name": "person", "value": PERSON, "url": group_site.url}])
        page = visitor.open(f"/{group.feed}")
        shown = Shown(group, page, Card(page.locator("petiole-task")))
        expect(shown.card.sentence).to_have_text("Waiting for a worker")
        expect(shown.drawer).to_be_visible()
        return shown

    return show


def tell(group: OpenGroup) -> None:
    """Ring the newest numbers, as the worker that is told when they are due does."""
    due = group.tell().due
    if due is not None:
        time.sleep(due)
        group.tell()


def number_in(name: str | None) -> int:
    """The number in "Task 1,234"."""
    return int(re.sub(r"\D", "", name or ""))


def widths(card: Card) -> dict[str, float]:
    """How wide each segment of the bar is, in percent of it."""
    return dict(
        card.bar.evaluate(
            """(bar) => [...bar.querySelectorAll(".segment")].map((segment) =>
              [segment.dataset.kind, Math.round(1000 * segment.getBoundingClientRect().width / bar.clientWidth) / 10])"""
        )
    )


def test_the_bar_the_words_the_steps_and_the_errors_follow_the_tasks(show: Show) -> None:
    shown = show(100, steps=["Fetch", "Resize"])
    group, card = shown.group, shown.card
    group.say(*(Contribution(number, "running", stage=(1, "Fetch")) for number in range(60)))
    group.fail(*range(10))
    group.end(*range(10, 40))
    tell(group)
    expect(card.sentence).to_have_text("40 of 100 tasks · 10 failed")
    expect(card.bar).to_have_attribute("aria-valuetext", re.compile(r"^40\s%, 40 of 100 tasks, 10 failed"))
    assert card.value() == 40
    expected = {"done": 30, "failed": 10, "stopped": 0, "running": 20, "waiting": 40}

    def settled() -> bool:
        return all(abs(width - expected[kind]) < 2 for kind, width in widths(card).items())

    wait_until(settled, what=f"the segments are as wide as {expected}", timeout=5)
    assert card.root.locator("[part=step][aria-current=step]").all_text_contents() == ["Fetch"]
    expect(card.part("error")).to_have_text([re.compile("The disk is full. References r-1, r-1, r-1, r-1, r-1")])
    group.say(Contribution(60, "running", stage=(2, "Resize")))
    tell(group)
    expect(card.root.locator("[part=step][aria-current=step]")).to_have_text("Resize")
    assert card.root.locator("[part=step]").evaluate_all("(steps) => steps.map((step) => step.dataset.is)") == [
        "done",
        "current",
    ]
    group.begin(*range(60, 100))
    group.end(*range(40, 100))
    expect(card.failure).to_contain_text("10 of 100 tasks failed.")
    expect(card.part("receipt")).to_have_text(re.compile(r"^(\d+) of \1 events, none missing$"))


def test_the_tasks_that_failed_are_started_again_in_the_same_card_and_other_tabs_follow(
    show: Show, group_site: GroupSite
) -> None:
    shown = show(10)
    group, card = shown.group, shown.card
    group.begin(*range(10))
    group.fail(3, 4)
    group.end(*(number for number in range(10) if number not in (3, 4)))
    button = card.button("Start the 2 that failed again")
    expect(button).to_be_enabled()
    assert card.value() == 80
    first = card.part("receipt").text_content()
    second_tab = shown.page.context.new_page()
    second_tab.goto(f"{group_site.url}/{group.feed}")
    other = Card(second_tab.locator("petiole-task"))
    expect(other.button("Start the 2 that failed again")).to_be_enabled()
    button.click()
    expect(card.button("Cancel")).to_be_visible()
    expect(card.part("receipt")).to_be_hidden()
    wait_until(lambda: group_site.journal.snapshot(group.feed).document.get("run") == 1, what="the next run", timeout=5)  # type: ignore[union-attr]
    group.run = 1
    group.begin(3)
    tell(group)
    expect(card.sentence).to_have_text("Run 2 · 8 of 10 tasks")
    expect(other.sentence).to_have_text("Run 2 · 8 of 10 tasks")
    expect(card.part("error")).to_have_count(0)
    group.begin(4)
    group.end(3, 4)
    for each in (card, other):
        expect(each.sentence).to_have_text("10 tasks")
        expect(each.part("receipt")).to_have_text(re.compile(r"^(\d+) of \1 events, none missing$"))
    assert card.part("receipt").text_content() != first
    assert shown.page.locator("petiole-task").get_attribute("task") == group.feed


def test_a_group_can_be_cancelled_and_says_how_far_it_came(show: Show) -> None:
    shown = show(20)
    group, card = shown.group, shown.card
    group.begin(*range(6))
    group.end(*range(5))
    card.button("Cancel").click()
    expect(card.sentence).to_have_text("Stopping…")
    group.end(5, state="cancelled")
    expect(card.sentence).to_have_text("Cancelled at 25 %")
    expect(card.part("receipt")).to_have_text(re.compile(r"^(\d+) of \1 events, none missing$"))
    assert {kind for kind, width in widths(card).items() if width > 0} == {"done", "stopped"}


def test_the_drawer_is_opened_and_filtered_by_keyboard_and_the_focus_stays(show: Show) -> None:
    shown = show(40)
    group, card, page = shown.group, shown.card, shown.page
    group.begin(*range(8), done=4500)
    group.fail(0, 1)
    tell(group)
    expect(card.sentence).to_contain_text("2 failed")
    assert shown.asked() == []  # nothing is read while it is closed
    tab_to(page, "Tasks")
    page.keyboard.press("Enter")
    expect(card.part("child-name")).to_have_text([f"Task {number}" for number in range(3, 9)])
    expect(card.part("child-sentence").first).to_have_text(re.compile(r"^Running for \d+\ss · 45\s%$"))
    page.keyboard.press("Tab")
    assert focused(page).startswith("Running")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(card.part("child-name")).to_have_text(["Task 1", "Task 2"])
    expect(card.part("child-reference").first).to_have_text("Reference r-1")
    assert focused(page) == "Failed 2"
    group.fail(2)
    tell(group)
    expect(card.part("child-name")).to_have_text(["Task 1", "Task 2", "Task 3"])
    assert focused(page) == "Failed 3"
    tab_to(page, "Tasks")
    page.keyboard.press("Enter")
    expect(card.part("child-name").first).to_be_hidden()
    asked = len(shown.asked())
    group.end(*range(3, 8))
    group.begin(*range(8, 20))
    tell(group)
    expect(card.sentence).to_contain_text("8 of 40 tasks")
    page.wait_for_timeout(REFRESH * 1500)
    assert len(shown.asked()) == asked


def test_an_open_list_is_read_at_most_every_two_seconds_and_follows(show: Show) -> None:
    shown = show(400)
    group, card = shown.group, shown.card
    shown.drawer.click()
    expect(card.part("children-note")).to_have_text("No task is running.")
    ends = time.monotonic() + 3 * REFRESH
    for number in itertools.count():
        if time.monotonic() > ends:
            break
        group.begin(number)
        if number >= 5:
            group.end(number - 5)
        tell(group)
        time.sleep(0.05)
    running = [f"Task {one + 1}" for one in range(number - 5, number)]
    expect(card.part("child-name")).to_have_text(running)
    times = shown.asked()
    assert 3 <= len(times) <= 6
    assert all(later - earlier >= REFRESH - 0.05 for earlier, later in itertools.pairwise(times)), times
    group.begin(*range(number, 400))
    group.end(*range(400))
    expect(card.sentence).to_have_text("400 tasks")
    expect(card.root.locator("[part=children-show][aria-pressed=true]")).to_have_text("All 400")
    expect(card.part("child-name").first).to_have_text("Task 1")


def test_ten_thousand_tasks_have_a_few_rows_wherever_somebody_looks(show: Show) -> None:
    shown = show(10_000)
    card, page = shown.card, shown.page
    shown.drawer.click()
    card.root.get_by_role("button", name="All 10,000").click()
    expect(card.part("child-name").first).to_have_text("Task 1")
    rows = card.part("children-rows")
    last = card.part("child-name").last

    def deeper() -> bool:
        rows.evaluate("(box) => box.scrollTop = box.scrollHeight")
        assert card.part("child").count() <= MOST_ROWS
        return number_in(last.text_content()) > 1500

    wait_until(deeper, what="the list has been read down to its 1,500th row", timeout=30)
    assert card.part("child").last.get_attribute("aria-setsize") == "10000"
    numbers = [number_in(name) for name in card.part("child-name").all_text_contents()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    rows.focus()
    page.keyboard.press("Home")
    expect(card.part("child-name").first).to_have_text("Task 1")


def test_a_page_draws_a_group_at_most_ten_times_a_second_however_fast_its_tasks_end(show: Show) -> None:
    shown = show(10_000)
    group, card, page = shown.group, shown.card, shown.page
    shown.drawer.click()
    page.evaluate(COUNT)
    seconds = 5.0
    began = time.monotonic()

    def work(numbers: range) -> None:
        for number in numbers:
            group.begin(number)
            if number % 700 == 0:
                group.fail(number)
            else:
                group.end(number)
            late = began + seconds * (number % 2500) / 2500 - time.monotonic()
            if late > 0:
                time.sleep(late)

    workers = [threading.Thread(target=work, args=(range(first, first + 2500),)) for first in range(0, 10_000, 2500)]
    for worker in workers:
        worker.start()
    rows = 0
    while any(worker.is_alive() for worker in workers):
        rows = max(rows, card.part("child").count())
        page.wait_for_timeout(200)
    expect(card.failure).to_contain_text("15 of 10,000 tasks failed.")
    took = time.monotonic() - began
    counted = shown.numbers()
    assert 5 < counted["events"] <= 10 * took + 20, (counted, took)  # the facts beside: states and first errors
    assert counted["draws"] <= 10 * took + 20, (counted, took)
    assert rows <= MOST_ROWS
    expect(card.part("receipt")).to_have_text(re.compile(r"^(\d+) of \1 events, none missing$"))


def test_a_page_without_groups_loads_no_file_for_them(group_site: GroupSite, visit: Visit) -> None:
    visitor = visit(group_site.url)
    visitor.context.add_cookies([{"name": "person", "value": PERSON, "url": group_site.url}])
    feed = group_site.open(owner=f"user:{PERSON}")
    loaded: list[str] = []
    visitor.context.on("request", lambda asked: loaded.append(asked.url))
    page = visitor.open(f"/{feed.removeprefix('task:')}")
    expect(Card(page.locator("petiole-task")).sentence).to_have_text("Waiting for a worker")
    assert any("/petiole.js" in url for url in loaded)
    assert not any(GROUP_FILE in url for url in loaded)


@pytest.mark.parametrize("how", ["", "defer", "async", "module", "nonce"])
def test_the_second_file_comes_in_the_version_of_the_first_however_that_is_loaded(
    how: str, group_site: GroupSite, visit: Visit
) -> None:
    group = OpenGroup(group_site.journal, 3, owner=f"user:{PERSON}")
    visitor = visit(group_site.url)
    visitor.context.add_cookies([{"name": "person", "value": PERSON, "url": group_site.url}])
    page = visitor.open(f"/{group.feed}?how={how}")
    expect(page.locator("petiole-task").get_by_text("Tasks", exact=True)).to_be_visible()
    loaded = page.evaluate("performance.getEntriesByType('resource').map(({ name }) => name)")
    version = assets().version if how == "nonce" else "2.1"
    assert [name.rpartition("/")[2] for name in loaded if GROUP_FILE in name] == [f"{GROUP_FILE}?v={version}"]


def test_a_group_whose_file_does_not_arrive_is_shown_as_a_task_until_it_does(
    group_site: GroupSite, visit: Visit
) -> None:
    group = OpenGroup(group_site.journal, 4, owner=f"user:{PERSON}")
    visitor = visit(group_site.url, expected=("net::ERR_FAILED",))
    visitor.context.add_cookies([{"name": "person", "value": PERSON, "url": group_site.url}])
    refused: list[str] = []

    def refuse(route: Route) -> None:
        refused.append(route.request.url)
        if len(refused) > 1:
            route.continue_()
        else:
            route.abort()

    visitor.context.route(f"**/{GROUP_FILE}*", refuse)
    page = visitor.open(f"/{group.feed}")
    card = Card(page.locator("petiole-task"))
    group.begin(0, 1)
    group.fail(0)
    tell(group)
    expect(card.sentence).to_have_text("1 of 4 tasks · 1 failed")
    expect(card.part("fill")).to_be_visible()
    expect(card.part("segments")).to_be_attached()
    expect(card.root.get_by_text("Tasks", exact=True)).to_be_visible()
    assert [url.rpartition("?")[2] for url in refused] == ["v=2.1", "v=2.1&again=1"]


def test_a_group_in_a_list_is_one_row_and_keeps_it_when_it_is_started_again(
    group_site: GroupSite, visit: Visit
) -> None:
    person = "bob"
    group = OpenGroup(group_site.journal, 3, owner=f"user:{person}", title="Bob's pictures")
    visitor = visit(group_site.url)
    visitor.context.add_cookies([{"name": "person", "value": person, "url": group_site.url}])
    page = visitor.open()
    row = page.locator("petiole-tasks petiole-task")
    expect(row).to_have_count(1)
    card = Card(row)
    group.begin(*range(3))
    group.fail(0)
    group.end(1, 2)
    expect(card.failure).to_contain_text("1 of 3 tasks failed.")
    assert row.bounding_box()["height"] < 70  # type: ignore[index]
    expect(card.button("Retry")).to_be_enabled()
    card.button("Retry").click()
    expect(card.button("Cancel")).to_be_visible()
    page.evaluate("document.querySelector('petiole-tasks').refresh()")
    group.run = 1
    group.begin(0)
    tell(group)
    expect(card.sentence).to_have_text("Run 2 · 2 of 3 tasks")
    expect(row).to_have_count(1)
    card.part("more").click()
    expect(card.root.get_by_text("Tasks", exact=True)).to_be_visible()
    group.end(0)
    expect(card.sentence).to_have_text("3 tasks")
    page.wait_for_timeout(500)
    expect(page.locator("petiole-inbox [part=notice]")).to_have_count(0)


def test_axe_finds_nothing_in_any_look_and_nothing_lies_beside_the_narrow_screen(show: Show) -> None:
    shown = show(300, steps=["Fetch", "Resize", "Publish"])
    group, card, page = shown.group, shown.card, shown.page
    group.say(*(Contribution(number, "running", stage=(2, "Resize")) for number in range(100)))
    group.fail(*range(3), message="cannot identify image file '/srv/pictures/2026/11/30/originals/IMG_4711.jpg' " * 3)
    group.end(*range(3, 50))
    tell(group)
    expect(card.sentence).to_contain_text("3 failed")
    shown.drawer.click()
    expect(card.part("child").first).to_be_visible()
    found = {}
    for viewport in (WIDE, NARROW):
        page.set_viewport_size(viewport)  # type: ignore[arg-type]
        for scheme in SCHEMES:
            for shown_tasks in ("Running", "Failed"):
                card.root.get_by_role("button", name=re.compile(f"^{shown_tasks}")).click()
                expect(card.part("child-name").first).to_have_text("Task 1" if shown_tasks == "Failed" else "Task 51")
                page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
                found[scheme, viewport["width"], shown_tasks] = violations(page)
                assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
    assert axe()
    assert {look: each for look, each in found.items() if each} == {}
    moving = """(card) => [...card.querySelectorAll("*")].some((each) =>
      getComputedStyle(each).animationName !== "none" || getComputedStyle(each).transitionProperty === "flex-grow")"""
    assert card.part("task").evaluate(moving) is False
    page.emulate_media(reduced_motion="no-preference")
    assert card.part("task").evaluate(moving) is True


def test_in_forced_colours_each_kind_keeps_a_look_of_its_own(show: Show) -> None:
    shown = show(40)
    group, card, page = shown.group, shown.card, shown.page
    group.begin(*range(30))
    group.fail(*range(8))
    group.end(*range(8, 16))
    group.end(*range(16, 22), state="cancelled")
    tell(group)
    page.emulate_media(forced_colors="active")
    expect(card.sentence).to_contain_text("8 failed")
    looks = card.bar.evaluate(
        """(bar) => [...bar.querySelectorAll(".segment")].map((segment) => getComputedStyle(segment).backgroundImage)"""
    )
    assert len(set(looks)) == len(looks)


def test_a_real_group_fails_in_part_and_is_finished_by_the_cards_button(
    site: str, visit: Visit, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    visitor = visit(site)
    page = visitor.open()
    answer = page.request.post(f"{visitor.home}/album", data={"pictures": 100, "key": str(key)})
    assert answer.status == 202, answer.text()
    page = visitor.open(f"/{answer.json()['id']}")
    card = Card(page.locator("petiole-task"))
    expect(card.failure).to_contain_text("10 of 100 tasks failed.", timeout=60_000)
    expect(card.part("error")).to_contain_text("The picture is locked.")
    assert {kind for kind, width in widths(card).items() if width > 0} == {"done", "failed"}
    card.root.get_by_text("Tasks", exact=True).click()
    expect(card.part("child-name").first).to_have_text("Task 1")
    expect(card.part("child")).to_have_count(10)
    key.touch()
    card.button("Start the 10 that failed again").click()
    expect(card.sentence).to_have_text("100 tasks", timeout=60_000)
    expect(card.part("receipt")).to_have_text(re.compile(r"^(\d+) of \1 events, none missing$"))
