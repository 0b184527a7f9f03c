"""A followed task in a notebook: IPython draws its bar, and moves it until the end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from petiole.testing import Tape
from petiole.testing.plugin import petiole_tape  # noqa: F401 (a fixture)
from tests.integration.test_tapes import recording  # noqa: F401 (a fixture)

BEGIN = """
import asyncio, json, sys, time
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

config = Config()
config.HistoryManager.enabled = False
shell = InteractiveShell.instance(config=config)
url, feed = sys.argv[1:]

def wait_for_the_last(captured):
    ends = time.monotonic() + 10
    while "succeeded" not in json.dumps(captured._outputs) and time.monotonic() < ends:
        yield
"""
BY_THREAD = """
from petiole.client import TaskClient

client = TaskClient(url)
with capture_output() as captured:
    view = client.watch(feed)
    shell.display_formatter.format(view)
    view.wait(timeout=10)
    for _ in wait_for_the_last(captured):
        time.sleep(0.01)
client.close()
"""
BY_COROUTINE = """
from petiole.client import AsyncTaskClient

async def main():
    async with AsyncTaskClient(url) as client:
        view = await client.watch(feed)
        shell.display_formatter.format(view)
        await view.wait(timeout=10)
        for _ in wait_for_the_last(captured):
            await asyncio.sleep(0.01)

with capture_output() as captured:
    asyncio.run(main())
"""
END = "print(json.dumps(captured._outputs))"


@pytest.mark.parametrize("client", [BY_THREAD, BY_COROUTINE], ids=["threads", "coroutines"])
def test_a_view_shows_itself_in_a_notebook_and_moves(
    recording: Any,  # noqa: F811
    petiole_tape: Any,  # noqa: F811
    client: str,
    tmp_path: Path,
) -> None:
    player = petiole_tape(Tape.of(recording))
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + client + END, player.url, player.feed],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"IPYTHONDIR": str(tmp_path), "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    first, *later = json.loads(done.stdout.splitlines()[-1])
    assert not first.get("update")
    assert later != []
    assert all(each["update"] and each["transient"] == first["transient"] for each in later)
    last = later[-1]["data"]
    assert last["text/plain"] == "Taped: succeeded, Working, 6 of 6 rows"
    assert '<progress max="1" value="1.0" aria-label="Taped"></progress>' in last["text/html"]
