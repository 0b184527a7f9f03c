"""Both Python clients read the same from the same tape, whatever is done to it; and each on a real system."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from petiole.client import AsyncTaskClient, Refused, TaskClient
from petiole.protocol.events import Event
from petiole.testing import Player, Tape
from petiole.testing.plugin import petiole_tape  # noqa: F401 (a fixture)
from tests.integration.test_tapes import recording  # noqa: F401 (a fixture)
from tests.support.examples import ROOT, code_blocks
from tests.support.system import System

FAULTS: dict[str, Any] = {
    "none": {},
    "dropped": {"drop": {4, 9, 10}},
    "doubled": {"double": set(range(2, 12))},
    "cut": {"cut": {5, 14}},
    "lost": {"lost": 9},
    "all at once": {"drop": {3, 16}, "double": {3, 8}, "cut": {8, 16}, "lost": 11},
}


class Transcript:
    """What a client has told its user, in order."""

    def __init__(self) -> None:
        self.lines: list[Any] = []

    def event(self, event: Event) -> None:
        self.lines.append((event.kind, event.id, event.seq))

    def reset(self, cursor: Any) -> None:
        self.lines.append(("reset", str(cursor)))

    def end(self, view: Any) -> list[Any]:
        return [*self.lines, view.document, view.texts, view.receipt, view.resets, str(view.cursor)]


def by_thread(player: Player) -> list[Any]:
    heard, client = Transcript(), TaskClient(player.url)
    view = client.watch(player.feed, on_event=heard.event, on_reset=heard.reset)
    view.wait(timeout=15)
    player.wait()
    client.close()
    return heard.end(view)


async def by_coroutine(player: Player) -> list[Any]:
    heard = Transcript()
    async with AsyncTaskClient(player.url) as client:
        view = await client.watch(player.feed, on_event=heard.event, on_reset=heard.reset)
        await view.wait(timeout=15)
        await asyncio.to_thread(player.wait)
        return heard.end(view)


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_both_clients_have_the_same_transcript(recording: Any, petiole_tape: Any, faults: dict[str, Any]) -> None:  # noqa: F811
    tape = Tape.of(recording)
    if "lost" in faults:
        tape = tape.lost_at(faults["lost"])
    given = {name: lines for name, lines in faults.items() if name != "lost"}
    threaded = by_thread(petiole_tape(tape, lockstep=True, **given))
    looped = asyncio.run(by_coroutine(petiole_tape(tape, lockstep=True, **given)))
    assert looped == threaded
    assert looped[-5:-3] == [recording.document, recording.texts]
    assert len(looped) > len(recording.facts)


def test_follow_yields_every_fact_until_the_end(recording: Any, petiole_tape: Any) -> None:  # noqa: F811
    async def follow(player: Player) -> list[str]:
        async with AsyncTaskClient(player.url) as client:
            return [event.id async for event in client.follow(player.feed, timeout=15) if event.is_fact]

    client = TaskClient((player := petiole_tape(recording, cut={5})).url)
    assert client.watch("taped-1").feed == client.watch("task:taped-1").feed == player.feed
    client.close()
    client = TaskClient((player := petiole_tape(recording, cut={5})).url)
    expected = [event.id for event in recording.facts]
    assert [
        event.id for event in client.follow(player.feed.removeprefix("task:"), timeout=15) if event.is_fact
    ] == expected
    client.close()
    assert asyncio.run(follow(petiole_tape(recording, cut={5}))) == expected


def test_what_the_documentation_shows_prints_the_facts(recording: Any, petiole_tape: Any, capsys: Any) -> None:  # noqa: F811
    for example in code_blocks(ROOT / "docs" / "terminal.md", "python"):
        player = petiole_tape(recording)
        exec(example, {"url": player.url, "task": player.feed, "token": None})
        printed = capsys.readouterr().out.splitlines()
        assert len([line for line in printed if line.startswith("log ")]) == len(recording.logs)


def test_a_real_task_is_started_followed_and_cancelled_by_coroutines(system: System) -> None:
    async def main() -> None:
        async with AsyncTaskClient(system.url, headers={"X-Person": "ann"}) as client:
            view = await client.start("/start/answer", {"args": [20]})
            text = "".join([piece async for piece in view.chunks(timeout=20)])
            assert (await view.wait(timeout=20))["state"] == "succeeded"
            assert text == view.text() != ""
            assert view.receipt is not None
            assert view.receipt.complete
            slow = await client.start("/start/count_slowly", {"args": [2000]})
            await slow.wait_until(lambda document: document.get("state") == "running", timeout=20)
            await client.cut()
            with pytest.raises(TimeoutError, match="is running after"):
                await slow.wait(timeout=0.1)
            while not client.connected:
                await asyncio.sleep(0.01)
            await slow.cancel()
            assert (await slow.wait(timeout=20))["state"] == "cancelled"
            with pytest.raises(Refused, match="has succeeded already"):
                await view.cancel()
            with pytest.raises(Refused, match="no such task here"):
                await (await client.watch("nothing")).wait(timeout=10)
            with pytest.raises(Refused, match="server answered 40"):
                await client.start("/nothing", {})

    asyncio.run(main())


def test_tokens_come_from_a_coroutine_and_are_renewed(system: System) -> None:
    asked: list[int] = []

    async def token() -> str:
        asked.append(threading.get_ident())
        await asyncio.sleep(0)
        return "no token"

    async def main() -> None:
        async with AsyncTaskClient(system.url, token=token) as client:
            view = await client.watch("anything")
            with pytest.raises(Refused):
                await view.wait(timeout=10)

    asyncio.run(main())
    # The first, and once more after it was refused; both in the loop's own thread.
    assert asked == [threading.get_ident()] * 2


def test_no_server_is_a_sentence() -> None:
    async def main() -> None:
        async with AsyncTaskClient("http://127.0.0.1:1") as client:
            await client.watch("anything")

    with pytest.raises(Exception, match="server answers at http://127"):
        asyncio.run(main())
