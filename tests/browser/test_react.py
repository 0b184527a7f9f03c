"""`examples/react`: installed and built by its README's commands, used in Chromium."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.card import Card
from tests.browser.conftest import Visit
from tests.support.examples import code_blocks, running_example
from tests.support.system import ROOT

EXAMPLE = ROOT / "examples" / "react"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    commands = code_blocks(EXAMPLE / "README.md", "sh")[0].splitlines()
    assert len(commands) == 4
    # The package's own tools are there: `make setup` has run the first one.
    for command in commands[1:]:
        quiet = [*shlex.split(command), "--silent", "--no-audit", "--no-fund"]
        subprocess.run(quiet, cwd=EXAMPLE, check=True, timeout=60)
    with running_example("react", tmp_path_factory.mktemp("react")) as example:
        yield example.url


def test_hooks_and_the_card_show_a_real_task_over_one_socket_until_its_receipt(visit: Visit, address: str) -> None:
    page = visit(address, expected=("status of 404",)).open()
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))
    page.get_by_role("button", name="Count to 1,000").click()
    card = Card(page.locator("petiole-task"))
    card.moves(2)
    expect(page.get_by_role("heading")).to_have_text(re.compile(r"^running \d+$"))
    expect(page.locator("section pre")).to_have_text(re.compile("^0\n100\n"))
    sockets.clear()
    page.reload()
    card.moves(2)
    expect(page.get_by_role("heading")).to_have_text("succeeded 1000")
    expect(page.locator("section")).to_contain_text("Nothing is missing.")
    expect(card.part("receipt")).to_have_text(re.compile("none missing$"))
    assert page.locator("section pre").inner_text().split() == [str(number) for number in range(0, 1000, 100)]
    inbox = page.get_by_role("list", name="Inbox")
    expect(inbox.get_by_role("listitem")).to_have_text(re.compile("^Count to 1,000: succeeded"))
    inbox.get_by_role("button", name="Dismiss").click()
    expect(inbox.get_by_role("listitem")).to_have_count(0)
    assert len(sockets) == 1
