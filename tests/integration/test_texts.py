"""A text that streams while everything around it breaks: every reader ends with the same bytes."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.proxy import FaultProxy
from petiole.client import TaskClient
from petiole.client.view import TaskView
from tests.apps.tokens import tokens_of
from tests.support.system import READY, System, running, start_worker
from tests.support.waiting import wait_until

TOKENS = 20_000
JOINS = 200
STAYING = 20


class Joiners:
    """People who open the page one after the other, each at a random point of the text; some of them stay."""

    def __init__(self, system: System, feed: str, whole: str) -> None:
        self._system = system
        self._feed = feed
        self._whole = whole
        self._chosen = random.Random(7)
        self._stop = threading.Event()
        self.joined: list[int] = []
        self.wrong: list[str] = []
        self.staying: list[TaskView] = []
        self._clients: list[TaskClient] = []
        self._thread = threading.Thread(target=self._join_all, daemon=True)
        self._thread.start()

    def finish(self, *, timeout: float) -> None:
        """Wait until all have joined."""
        self._thread.join(timeout)
        self._stop.set()
        for client in self._clients:
            client.close()

    def _join_all(self) -> None:
        while len(self.joined) < JOINS and not self._stop.is_set():
            try:
                client = self._system.client("ann")
                view = client.watch(self._feed)
            except Exception:  # noqa: BLE001 (a browser that meets a dead web process tries again)
                time.sleep(0.05)
                continue
            try:
                view.wait_until(lambda document: document["state"] != "queued", timeout=20)
            except TimeoutError:
                self.wrong.append("nothing came within 20 s")
            text = view.text("output")
            self.joined.append(len(text))
            if not self._whole.startswith(text):
                self.wrong.append(f"at {len(text)} characters it wasn't a part of the answer")
            if len(self.joined) % (JOINS // STAYING) == 0:
                self.staying.append(view)
            else:
                client.close()
                self._system.clients.remove(client)


@pytest.fixture
def broken_in(tmp_path: Path) -> Iterator[tuple[System, FaultProxy]]:
    """A system whose worker reaches Redis by a cable that can be cut."""
    with running(tmp_path, workers=0) as system:
        proxy = FaultProxy(system.redis_port)
        journal = f"redis://127.0.0.1:{proxy.port}/0"
        worker = start_worker(system.processes, {**system.environment, "PETIOLE_JOURNAL_URL": journal}, name="far")
        system.processes.wait_ready(worker, timeout=READY)
        yield system, proxy
        proxy.close()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_answer_of_20000_tokens_reaches_every_reader_byte_for_byte_whatever_breaks(
    broken_in: tuple[System, FaultProxy],
) -> None:
    system, proxy = broken_in
    whole = "".join(tokens_of(TOKENS))
    places = ("web-1", "redis", "web-2", "cable", "web-3")
    gates = {str(TOKENS * (n + 1) // 6): system.gate(place) for n, place in enumerate(places)}
    opened = iter(gates.values())
    first = system.client("ann")
    view = first.start("/start/answer", {"args": [TOKENS, {at: str(gate) for at, gate in gates.items()}, 0.0005]})
    second = system.client("ann").watch(view.feed)
    joiners = Joiners(system, view.feed, whole)
    for number, (at, place) in enumerate(zip(gates, places, strict=True), 1):
        before = "".join(list(tokens_of(TOKENS))[: int(at)])
        wait_until(
            lambda before=before: view.text("output").startswith(before), what=f"the text is at {place}", timeout=60
        )
        share = JOINS * number // (len(places) + 1)
        wait_until(lambda share=share: len(joiners.joined) >= share, what=f"{share} have joined", timeout=120)
        if place.startswith("web"):
            system.kill_web()
            next(opened).touch()
            system.start_web()
        elif place == "redis":
            os.kill(system.redis_process.popen.pid, signal.SIGTERM)
            system.redis_process.popen.wait(10)
            system.processes.forget(system.redis_process)
            next(opened).touch()
            system.start_redis()
        else:
            proxy.faults.refuse = True
            proxy.reset_all()
            next(opened).touch()
            time.sleep(5)  # as long as the fault lasts
            proxy.faults.refuse = False
    assert view.wait(timeout=60)["state"] == "succeeded"
    joiners.finish(timeout=120)
    assert joiners.wrong == []
    assert len(joiners.joined) == JOINS
    assert len(set(joiners.joined)) > JOINS // 10, "they joined at different points"
    late = system.client("ann").watch(view.feed)
    for reader in (view, second, late, *joiners.staying):
        reader.wait(timeout=30)
        assert reader.text("output") == whole
        assert reader.receipt.complete
        assert reader.resets == 0


def test_a_cancelled_writer_keeps_what_it_has_written(system: System) -> None:
    gate = system.gate("cancel")
    view = system.client("ann").start("/start/answer", {"args": [1000, {"500": str(gate)}]})
    written = "".join(list(tokens_of(1000))[:501])
    wait_until(lambda: view.text("output") == written, what="half of it is shown")
    view.cancel()
    document = view.wait(timeout=20)
    assert document["state"] == "cancelled"
    assert view.text("output") == written
    assert document["texts"]["output"]["length"] == len(written.encode())
    assert view.receipt.complete
