"""`examples/minimal` matches the README byte for byte, and runs as its own README says."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import requests

from petiole.client import Refused, TaskClient
from petiole.protocol.events import Event
from tests.support.examples import code_blocks, running_example
from tests.support.system import ROOT

EXAMPLE = ROOT / "examples" / "minimal"
FILES = ("tasks.py", "web.py", "templates/index.html")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_example("minimal", tmp_path_factory.mktemp("minimal")) as example:
        yield example.url


def test_the_readme_shows_the_example_byte_for_byte() -> None:
    shown = code_blocks(ROOT / "README.md", "python", "html")
    assert shown == [(EXAMPLE / name).read_text(encoding="utf-8") for name in FILES]
    assert code_blocks(ROOT / "README.md", "sh") == code_blocks(EXAMPLE / "README.md", "sh")


def test_the_page_has_the_tag_and_its_script_is_served(address: str) -> None:
    page = requests.get(address, timeout=5)
    assert "<petiole-task></petiole-task>" in page.text
    script = re.search(r'<script src="([^"]+)">', page.text)
    assert script is not None
    assert requests.get(address + script[1], timeout=5).headers["Content-Type"].startswith("text/javascript")


def test_a_task_is_followed_to_its_receipt(address: str) -> None:
    session = requests.Session()
    session.get(address, timeout=5).raise_for_status()
    events: list[Event] = []
    client = TaskClient(address, session=session)
    stranger = TaskClient(address)
    try:
        view = client.start("/count", {}, on_event=events.append)
        with pytest.raises(Refused):
            stranger.watch(view.feed).wait(timeout=5)
        document = view.wait(timeout=60)
        assert document["state"] == "succeeded"
        assert document["title"] == "Count to 1,000"
        assert (document["progress"]["completed"], document["progress"]["total"]) == (1000, 1000)
        assert [event.facts for event in events if event.is_fact] == list(range(2, view.receipt.facts + 1))
        assert view.receipt.complete
    finally:
        client.close()
        stranger.close()
