"""Rings in a separate thread: in order, bounded, and never blocking the writer."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from petiole.bus.ringer import WAITING, Ringer
from petiole.errors import Unavailable
from tests.support.waiting import wait_until

Rings = Sequence[tuple[str, "str | bytes"]]


class Heard:
    """A bus that can block, and that can fail."""

    def __init__(self) -> None:
        self.rings: list[tuple[str, str | bytes]] = []
        self.open = threading.Event()
        self.held = threading.Event()
        self.failures: list[Exception] = []

    def publish(self, rings: Rings) -> None:
        self.held.set()
        assert self.open.wait(10)
        if self.failures:
            raise self.failures.pop()
        self.rings += rings


def test_rings_are_passed_on_in_their_order() -> None:
    heard = Heard()
    heard.open.set()
    ringer = Ringer(heard.publish)
    told = [("task:a", str(number)) for number in range(500)]
    for ring in told:
        ringer.ring(*ring)
    wait_until(lambda: len(heard.rings) == 500, what="all rings were forwarded")
    assert heard.rings == told


def test_of_too_many_that_wait_the_oldest_are_let_go() -> None:
    heard = Heard()
    ringer = Ringer(heard.publish)
    ringer.ring("task:a", "first")
    assert heard.held.wait(5)
    for number in range(WAITING + 500):
        ringer.ring("task:a", str(number))
    heard.open.set()
    wait_until(lambda: len(heard.rings) == WAITING + 1, what="the queued ones were forwarded")
    assert [text for _, text in heard.rings] == ["first", *map(str, range(500, WAITING + 500))]


def test_after_a_failure_of_any_kind_it_goes_on() -> None:
    heard = Heard()
    heard.failures = [ValueError("of another kind"), Unavailable("The bus is away.")]
    heard.open.set()
    ringer = Ringer(heard.publish)
    for number in range(3):
        left = len(heard.failures)
        ringer.ring("task:a", str(number))
        wait_until(lambda left=left: len(heard.failures) < left or bool(heard.rings), what="the ring was taken")  # type: ignore[misc]
    wait_until(lambda: heard.rings == [("task:a", "2")], what="the third ring was forwarded")


def test_a_forked_process_rings_by_itself_and_not_what_its_parent_had_waiting() -> None:
    heard = Heard()
    ringer = Ringer(heard.publish)
    ringer.ring("task:a", "taken")
    assert heard.held.wait(5)
    ringer.ring("task:a", "waiting")
    child = os.fork()
    if child == 0:
        heard.open.set()
        ringer.ring("task:a", "of the child")
        try:
            wait_until(lambda: bool(heard.rings), what="the child's ring was forwarded")
            os._exit(0 if heard.rings == [("task:a", "of the child")] else 2)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    heard.open.set()
    wait_until(lambda: [text for _, text in heard.rings] == ["taken", "waiting"], what="the parent's were forwarded")
