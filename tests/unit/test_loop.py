"""A loop that can't die, and reports a part that doesn't run."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest

from petiole.errors import PetioleError, Unavailable
from petiole.loop import LONGEST_PAUSE, Delays, Loop
from tests.support.logs import logged


class Turns:
    """A loop's given turns; the last one closes the loop."""

    def __init__(self, *turns: float | Exception) -> None:
        self._turns = list(turns)
        self.waits: list[float] = []
        self.troubles: list[str | None] = []
        self.loop = Loop("reaper", self._turn, away=8.0, jitter=0.0, wait=self._wait)

    def _turn(self) -> float:
        turn = self._turns.pop(0)
        if isinstance(turn, Exception):
            raise turn
        return turn

    def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.troubles.append(self.loop.trouble())
        if not self._turns:
            self.loop.close()


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


def test_whatever_a_turn_raises_the_loop_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    turns = Turns(ValueError("x"), Unprintable(), PetioleError("y"), RecursionError(), 1.0)
    turns.loop.run()
    assert turns.waits == [1.0, 2.0, 4.0, 8.0, 1.0]
    assert turns.troubles == ["The reaper fails; the log says why."] * 4 + [None]
    assert [record.msg for record in logged(caplog)] == ["loop_failed"] * 4


def test_while_the_journal_is_away_it_waits_and_nothing_is_wrong_with_it(caplog: pytest.LogCaptureFixture) -> None:
    turns = Turns(Unavailable("away"), Unavailable("away"), 1.0)
    turns.loop.run()
    assert turns.waits == [8.0, 8.0, 1.0]
    # Once, however long the failure lasts.
    assert [record.msg for record in logged(caplog)] == ["loop_waits"]
    assert turns.troubles == [None] * 3


def test_it_waits_longer_and_longer_up_to_a_bound() -> None:
    turns = Turns(*[ValueError() for _ in range(10)])
    turns.loop.run()
    assert turns.waits[-1] == LONGEST_PAUSE


def test_what_ends_its_thread_is_said() -> None:
    def ends() -> float:
        raise SystemExit

    loop = Loop("courier", ends)
    assert loop.trouble() is None
    with suppress(SystemExit):
        loop.run()
    assert loop.trouble() == "The courier has ended; start this process again."


def test_a_turn_that_does_not_end_is_said() -> None:
    now = [0.0]
    begun, go_on = threading.Event(), threading.Event()

    def turn() -> float:
        begun.set()
        go_on.wait(5)
        loop.close()
        return 0.0

    loop = Loop("reaper", turn, clock=lambda: now[0])
    thread = threading.Thread(target=loop.run)
    thread.start()
    assert begun.wait(5)
    assert loop.trouble() is None
    now[0] = 61.0
    assert loop.trouble() == "The reaper hangs."
    go_on.set()
    thread.join()


def test_what_fails_is_put_off_for_longer_each_time() -> None:
    now = [0.0]
    delays = Delays(clock=lambda: now[0])
    assert not delays.waits("a")
    assert delays.put_off("a") == 0.0
    assert delays.waits("a")
    now[0] = 1.0
    assert not delays.waits("a")
    delays.put_off("a")
    now[0] = 2.9
    assert delays.waits("a")
    assert not delays.waits("b")
    assert delays.lasts("a") == 2.9
    delays.clear("a")
    assert delays.lasts("a") == 0.0
    assert len(delays) == 0
