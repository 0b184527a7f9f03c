"""`examples/console`, as its readers use it: run a command, watch its output, reload, cancel."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psutil
import pytest
import requests
from playwright.sync_api import Page, expect

from tests.browser.card import Card
from tests.browser.conftest import Visit
from tests.browser.test_cases import COMPLETE
from tests.support.examples import Example, running_example
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

# They have no icon, which a browser requests by itself.
NO_ICON = ("status of 404",)
COMPILING = "".join(["==> Compiling 20 files\n", *(f"[{n:2}/20] src/part_{n:02}.c\n" for n in range(1, 21))])
WARNINGS = "".join(f"warning: src/part_{number:02}.c: naïve façade is never used\n" for number in (7, 14))


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    with running_example("console", tmp_path_factory.mktemp("console")) as console:
        yield console


def run(page: Page, name: str) -> Card:
    page.get_by_role("button", name=name, exact=True).click()
    expect(page).to_have_url(re.compile("#.+"))
    return Card(page.locator("petiole-task"))


def output(page: Page, name: str = "stdout") -> str:
    return page.locator(f"petiole-text[name='{name}'] [part='text-lines']").text_content() or ""


def wait_for(page: Page, name: str, expected: str) -> None:
    wait_until(lambda: output(page, name) == expected, what=f"all of {name} is shown", timeout=20)


def test_the_output_of_a_command_is_shown_live_without_colours_and_survives_a_reload(
    console: Example, visit: Visit
) -> None:
    visitor = visit(console.url, expected=NO_ICON)
    page = visitor.open()
    run(page, "Build")
    wait_until(lambda: len(output(page)) > 60, what="the output grows")
    assert COMPILING.startswith(output(page))
    page.reload()
    other = visitor.open(page.url.removeprefix(console.url))
    for each in (page, other):
        wait_for(each, "stdout", f"{COMPILING}==> Done ✓\n")
        wait_for(each, "stderr", WARNINGS)
        card = Card(each.locator("petiole-task"))
        expect(card.root).to_contain_text("exit_code: 0")
        expect(card.part("receipt")).to_have_text(COMPLETE)


def test_a_command_that_fails_has_its_exit_code_and_both_its_streams(console: Example, visit: Visit) -> None:
    page = visit(console.url, expected=NO_ICON).open()
    card = run(page, "Broken build")
    expect(card.root).to_contain_text("exit_code: 2")
    wait_for(page, "stdout", COMPILING)
    wait_for(page, "stderr", f"{WARNINGS}error: the parts don't fit together\n")


def test_cancel_ends_a_silent_command_with_its_children_and_keeps_the_output(console: Example, visit: Visit) -> None:
    page = visit(console.url, expected=NO_ICON).open()
    card = run(page, "Ten minutes of silence")
    wait_for(page, "stdout", "Only Cancel ends this.\n")

    worker = psutil.Process(console.worker.popen.pid)

    def commands() -> list[psutil.Process]:
        return [each for each in worker.children(recursive=True) if each.name() in ("sh", "sleep", "cat")]

    wait_until(lambda: len(commands()) == 3, what="the command and its children run")
    running = commands()
    card.button("Cancel").click()
    expect(card.sentence).to_have_text(re.compile("^Cancelled"))
    _, alive = psutil.wait_procs(running, timeout=10)
    assert alive == []
    assert output(page) == "Only Cancel ends this.\n"
    note = page.locator("petiole-text[name='stdout'] [part='text-note']:visible")
    expect(note).to_have_text("Incomplete: the task was cancelled.")


def test_a_command_that_is_not_on_the_list_is_not_run(console: Example) -> None:
    answer = requests.post(f"{console.url}/run/sh%20-c%20reboot", timeout=5)
    assert answer.status_code == 404
