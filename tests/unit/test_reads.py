"""Shared reads: one answer for all concurrent callers, and never one that is older than the call."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from petiole.errors import Unavailable
from petiole.web.relay.reads import SharedReads
from tests.support.waiting import wait_until


class Source:
    """Answers with its number of calls; each answer waits at its gate."""

    def __init__(self) -> None:
        self.gates: list[threading.Event] = []
        self.error: Exception | None = None

    def read(self) -> int:
        gate = threading.Event()
        self.gates.append(gate)
        number = len(self.gates)
        assert gate.wait(5)
        if self.error is not None:
            raise self.error
        return number


def ask(reads: SharedReads, source: Source, answers: list[Any], key: object = "key") -> threading.Thread:
    def run() -> None:
        try:
            answers.append(reads.share(key, source.read))
        except Unavailable as error:
            answers.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_who_comes_during_a_read_gets_the_next_one_together():
    reads, source = SharedReads(gather=0), Source()
    first: list[Any] = []
    later: list[Any] = []
    ask(reads, source, first)
    wait_until(lambda: len(source.gates) == 1, what="the first read began")
    threads = [ask(reads, source, later) for _ in range(50)]
    wait_until(lambda: reads._waiting["key"].callers == 50, what="fifty wait")
    source.gates[0].set()
    wait_until(lambda: len(source.gates) == 2, what="the second read began")
    source.gates[1].set()
    for thread in threads:
        thread.join(5)
    assert (first, later) == ([1], [2] * 50)


def test_a_failure_is_everybodys_and_nothing_stays():
    reads, source = SharedReads(gather=0), Source()
    source.error = Unavailable("away")
    answers: list[Any] = []
    ask(reads, source, answers)
    wait_until(lambda: len(source.gates) == 1)
    for _ in range(3):
        ask(reads, source, answers)
    wait_until(lambda: reads._waiting["key"].callers == 3)
    source.gates[0].set()
    wait_until(lambda: len(source.gates) == 2)
    source.gates[1].set()
    wait_until(lambda: len(answers) == 4)
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert (reads._running, reads._waiting) == ({}, {})


def test_so_many_reads_at_once_and_who_would_wait_too_long_is_told():
    reads, source = SharedReads(at_once=2, place_within=0.05), Source()
    answers: list[Any] = []
    for key in "ab":
        ask(reads, source, answers, key)
    wait_until(lambda: len(source.gates) == 2)
    with pytest.raises(Unavailable, match="Too many reads"):
        reads.share("c", source.read)
    for gate in source.gates:
        gate.set()
    wait_until(lambda: len(answers) == 2)
    assert reads.share("c", lambda: "read") == "read"


def test_who_comes_alone_never_waits():
    naps: list[float] = []
    reads = SharedReads(gather=60)
    assert [reads.share("key", lambda: len(naps)) for _ in range(100)] == [0] * 100
