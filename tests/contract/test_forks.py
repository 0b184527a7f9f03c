"""A process may be forked while its threads use the journal, as a worker's pool child is: the child uses it, too."""

from __future__ import annotations

import os
import signal
import threading
import time

from petiole.journal import Journal
from tests.contract.backends import FEED, Backend, opened

FORKS = 40
WITHIN = 10.0


def test_a_process_that_is_forked_in_the_middle_of_a_call_can_call(server_backend: Backend) -> None:
    journal = server_backend.make()
    opened(journal)
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            journal.heads([FEED])

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        ends = [fork_and_ask(journal) for _ in range(FORKS)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert ends == [0] * FORKS


def fork_and_ask(journal: Journal) -> int | None:
    """Fork, and have the child ask for the feed; returns its exit code, `None` if it hangs."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if FEED in journal.heads([FEED]) else 2
        finally:
            os._exit(code)
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None
