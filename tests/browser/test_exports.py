"""The demo's page in a real browser: from a click to the file, and all events in between."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import sqlite3
from contextlib import closing

from playwright.sync_api import expect

from petiole.demo.system import System
from tests.browser.card import Card, choose, export, first_card
from tests.browser.conftest import Visit

TABLE = "weather"  # 26,115 rows: some seconds
LONG = "flights"  # 336,776 rows: longer than a test


def same(cell: str, value: object) -> bool:
    if value is None:
        return cell == ""
    return float(cell) == value if isinstance(value, float) else cell == str(value)


def test_from_a_click_to_a_file_that_is_the_table(demo: System, visit: Visit) -> None:
    page = visit(demo.url, accept_downloads=True).open()
    card = export(page, TABLE)
    height = card.root.bounding_box()
    seen = card.moves()
    assert seen == sorted(seen)
    link = card.root.get_by_role("link", name="Download weather.csv")
    expect(link).to_be_visible()
    with page.expect_download() as download:
        link.click()
    content = download.value.path().read_bytes()
    assert download.value.suggested_filename == "weather.csv"
    told = page.request.get(f"{demo.url}/petiole/tasks/{card.root.get_attribute('data-id')}").json()
    assert hashlib.sha256(content).hexdigest() == told["document"]["artifacts"][0]["sha256"]
    with closing(sqlite3.connect(str(demo.database))) as database:
        rows = database.execute(f"SELECT * FROM {TABLE} ORDER BY rowid").fetchall()
    lines = list(csv.reader(io.StringIO(content.decode(), newline="")))[1:]
    assert len(lines) == len(rows)
    assert all(len(line) == len(row) and all(map(same, line, row)) for line, row in zip(lines, rows, strict=True))
    expect(card.sentence).to_have_text(re.compile(r"^26,115 rows · [\d.]+.MB · kept until \d+ \w+$"))
    expect(card.part("receipt")).to_have_text(re.compile(r"^(\d+) of \1 events, none missing$"))
    # The layout doesn't jump when the link replaces the bar.
    assert card.root.bounding_box() == height


def test_a_reload_in_mid_export_goes_on_where_it_stands(demo: System, visit: Visit) -> None:
    page = visit(demo.url).open()
    card = export(page, TABLE)
    before = card.moves(2)[-1]
    page.reload()
    card = first_card(page)
    expect(card.bar).to_have_attribute("aria-valuenow", re.compile(r"\d"))
    assert (card.value() or 100) >= before
    expect(card.part("download")).to_be_visible()
    card.root.get_by_text("Log", exact=True).click()
    lines = card.part("log-text")
    expect(lines.last).to_have_text("Finished")
    expect(lines.first).to_have_text("Queued")
    facts = re.match(r"\d+", card.part("receipt").text_content() or "")
    assert facts is not None
    expect(lines).to_have_count(int(facts[0]))


def test_a_second_tab_follows_and_may_cancel(demo: System, visit: Visit) -> None:
    visitor = visit(demo.url)
    first, second = visitor.open(), visitor.open()
    expect(second.locator("#empty")).to_be_visible()
    card = export(first, LONG)
    card.moves(2)
    other = Card(second.locator(f"petiole-task[data-id='{card.root.get_attribute('data-id')}']"))
    other.moves(2)
    other.button("Cancel").click()
    for each in (card, other):
        expect(each.sentence).to_have_text(re.compile(r"^Cancelled at \d+.%$"))
        expect(each.part("receipt")).to_have_text(re.compile(r"^(\d+) of \1 events, none missing$"))
    expect(card.button("Start again")).to_be_enabled()


def test_what_was_cancelled_starts_again_in_its_place(demo: System, visit: Visit) -> None:
    page = visit(demo.url).open()
    card = export(page, LONG)
    first = card.root.get_attribute("data-id")
    card.moves(1)
    card.button("Cancel").focus()
    page.keyboard.press("Enter")
    again = page.get_by_role("button", name="Start again", exact=True)
    expect(again).to_be_focused()
    expect(again).to_be_enabled()
    page.keyboard.press("Enter")
    expect(page.locator(f"petiole-task[data-id='{first}']")).to_have_count(0)
    card = first_card(page)
    assert card.root.get_attribute("data-id") != first
    card.moves(2)
    expect(card.button("Cancel")).to_be_focused()
    card.button("Cancel").click()
    expect(card.sentence).to_have_text(re.compile("^Cancelled"))
    expect(page.locator("petiole-task")).to_have_count(1)


def test_another_person_is_told_that_there_is_no_such_task(demo: System, visit: Visit) -> None:
    page = visit(demo.url).open()
    card = export(page, "airlines")
    task = card.root.get_attribute("data-id")
    expect(card.part("download")).to_be_visible()
    stranger = visit(demo.url, expected=("404",)).open()
    expect(stranger.locator("#empty")).to_be_visible()
    stranger.evaluate(
        """(task) => {
          const other = document.createElement("petiole-task");
          other.setAttribute("task", task);
          document.querySelector("main").append(other);
        }""",
        task,
    )
    other = Card(stranger.locator("petiole-task[task]"))
    expect(other.failure).to_have_text("There is no such task here, or it isn't yours.")
    assert stranger.request.get(f"{demo.url}/petiole/tasks/{task}").status == 404
    assert stranger.request.get(f"{demo.url}/exports/{task}/file").status == 404


def test_what_cannot_be_exported_is_said_at_the_field(demo: System, visit: Visit) -> None:
    page = visit(demo.url, expected=("422",)).open()
    choose(page, "flights")
    page.get_by_role("button", name="Add a filter").click()
    page.get_by_role("combobox", name="Column").select_option("month")
    page.get_by_role("textbox", name="Value").fill("<b>soon</b>")
    page.get_by_role("button", name="Export data").click()
    expect(page.locator("#problem")).to_have_text("This column holds integers. Give a whole number of at most 64 bits.")
    expect(page.get_by_role("textbox", name="Value")).to_be_focused()
    expect(page.locator("petiole-task")).to_have_count(0)
