"""Worker, broker, web and client on separate hosts; each one's cable is unplugged and plugged in again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from petiole.servers.processes import Process, Processes
from petiole.servers.redis import find_redis_server, redis_command
from tests.support.hosts import Hosts, hosts
from tests.support.system import READY, ROOT
from tests.support.waiting import wait_until

REDIS_PORT, WEB_PORT = 6379, 8000
ITEMS = 50
SETTINGS = {
    "PETIOLE_HEARTBEAT": "0.7",
    "PETIOLE_LEASE": "3",
    "PETIOLE_HEAD_CHECK": "1",
    # Longer than any cable is unplugged: the worker comes back.
    "PETIOLE_LOST_AFTER": "60",
}
# Reads a feed in the journal, on the broker's own host.
ASK = """
import json, sys
from petiole.journal.redis.journal import RedisJournal
from petiole.settings import Settings
snapshot = RedisJournal(Settings(journal_url=sys.argv[1])).snapshot(sys.argv[2])
print(json.dumps([snapshot.cursor.facts, snapshot.document["state"]]))
"""


@dataclass
class Plant:
    """The four hosts and their processes."""

    hosts: Hosts
    processes: Processes
    directory: Path
    environment: dict[str, str]
    log: list[str]
    said: list[dict[str, Any]] = field(default_factory=list)

    @property
    def broker_url(self) -> str:
        return self.environment["CELERY_BROKER_URL"]

    def start(self, host: str, *command: str, ready_line: str | None = None) -> Process:
        where = self.hosts.on(host, *command)
        return self.processes.start(host, where, environment=self.environment, directory=ROOT, ready_line=ready_line)

    def gate(self, number: int) -> Path:
        return self.directory / f"gate-{number}"

    def ask(self, host: str, *arguments: str) -> str:
        command = self.hosts.on(host, sys.executable, *arguments)
        environment = {**os.environ, **self.environment}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    def journal(self, feed: str) -> tuple[int, str]:
        """The number of a feed's facts in the journal, and its state."""
        facts, state = json.loads(self.ask("broker", "-c", ASK, self.broker_url, feed))
        return facts, state

    def web_is_ready(self) -> bool:
        """The web process's readiness, read on its own host."""
        url = f"http://{self.hosts.addresses['web']}:{WEB_PORT}/petiole/ready"
        return (
            self.ask("web", "-c", f"import requests; print(requests.get({url!r}, timeout=10).status_code)") == "200\n"
        )

    def events(self) -> list[dict[str, Any]]:
        return [line["event"] for line in list(self.said) if "event" in line]

    def items(self) -> list[str]:
        return [event["data"]["message"] for event in self.events() if event["kind"] == "log"]

    def states(self) -> list[str]:
        return [event["patch"]["state"] for event in self.events() if "state" in event["patch"]]

    def wait_for(self, count: int) -> None:
        wait_until(lambda: len(self.items()) >= count, timeout=30, what=f"the client has received {count} items")

    def word(self, name: str) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            return next((line for line in list(self.said) if name in line), None)

        line = wait_until(found, timeout=30, what=f"the client prints its {name}")
        assert line is not None
        return line


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    log: list[str] = []
    with hosts("worker", "broker", "web", "client") as network:
        at = network.addresses
        url = f"redis://{at['broker']}:{REDIS_PORT}/0"
        environment = {"CELERY_BROKER_URL": url, "PYTHONPATH": str(ROOT), **SETTINGS}
        said: list[dict[str, Any]] = []

        def say(name: str, line: str) -> None:
            log.append(f"{name}: {line}")
            if name == "client" and line.startswith("{"):
                said.append(json.loads(line))

        processes = Processes(say)
        made = Plant(network, processes, tmp_path, environment, log, said)
        redis = redis_command(find_redis_server(), port=REDIS_PORT, directory=tmp_path / "redis")
        redis[redis.index("--bind") + 1] = at["broker"]
        try:
            broker = made.start("broker", *redis, "--protected-mode", "no", ready_line="Ready to accept connections")
            processes.wait_ready(broker, timeout=READY)
            web = made.start(
                "web",
                *(sys.executable, "-m", "gunicorn", "--config", str(ROOT / "deploy" / "gunicorn_gevent.py")),
                *("--bind", f"{at['web']}:{WEB_PORT}", "tests.apps.web_app:create_app()"),
                ready_line="Booting worker",
            )
            worker = made.start(
                "worker",
                *(sys.executable, "-m", "celery", "-A", "tests.apps.worker_app", "worker"),
                *("--concurrency", "1", "--loglevel", "INFO", "--without-gossip", "--without-mingle"),
                ready_line=" ready.",
            )
            for process in (web, worker):
                processes.wait_ready(process, timeout=READY)
            yield made
        finally:
            processes.stop()
            print("\n".join(log[-150:]))


def test_each_host_is_cut_off_and_comes_back_and_nothing_is_lost(plant: Plant) -> None:
    gates = {str(number): str(plant.gate(number)) for number in (10, 20, 30, 40)}
    body = json.dumps({"args": [ITEMS, gates], "title": "Count"})
    url = f"http://{plant.hosts.addresses['web']}:{WEB_PORT}"
    plant.start("client", sys.executable, "-m", "tests.support.follower", url, "count", body)
    plant.wait_for(10)
    feed = plant.word("feed")["feed"]

    plant.hosts.cut("worker")
    plant.gate(10).touch()
    wait_until(
        lambda: plant.states()[-1] == "stalled",
        timeout=12,
        what="a task whose worker is cut off is reported as stalled",
    )
    assert len(plant.items()) == 10
    plant.hosts.heal("worker")
    plant.wait_for(20)
    wait_until(lambda: plant.states()[-1] == "running", timeout=10, what="it is reported as running again")

    before, _ = plant.journal(feed)
    plant.hosts.cut("web")
    plant.gate(20).touch()
    wait_until(
        lambda: plant.journal(feed)[0] >= before + 10, timeout=20, what="the journal has the events of the outage"
    )
    wait_until(lambda: not plant.web_is_ready(), timeout=20, what="the web process knows that it has no journal")
    assert len(plant.items()) == 20
    plant.hosts.heal("web")
    plant.wait_for(30)
    wait_until(plant.web_is_ready, timeout=20, what="the web process is ready again")

    before, _ = plant.journal(feed)
    plant.hosts.cut("broker")
    plant.gate(30).touch()
    wait_until(lambda: not plant.web_is_ready(), timeout=20, what="the web process knows that it has no journal")
    assert plant.journal(feed)[0] == before
    assert len(plant.items()) == 30
    plant.hosts.heal("broker")
    plant.wait_for(40)

    plant.hosts.cut("client")
    plant.gate(40).touch()
    wait_until(
        lambda: plant.journal(feed)[1] == "succeeded", timeout=20, what="the task ends while its client is cut off"
    )
    assert len(plant.items()) == 40
    plant.hosts.heal("client")
    plant.wait_for(ITEMS)

    last = plant.word("receipt")
    assert last["receipt"]["complete"]
    assert last["resets"] == 0
    assert plant.items() == [f"item {number}" for number in range(ITEMS)]
    # It was queued in the answer to its start, from which the client continues. While cut off from the broker for longer
    # than its lease, the worker may be reported as silent a second time; and when it is back the task may end before it is
    # reported as running. Both the task and its worker's main process may report that it runs again.
    states = [state for state, _ in groupby(plant.states())]
    assert states[:3] == ["running", "stalled", "running"]
    assert states[3:] in (["succeeded"], ["stalled", "running", "succeeded"], ["stalled", "succeeded"])
    events = plant.events()
    numbers = [event["seq"] for event in events]
    assert numbers == sorted(set(numbers))
    facts = [event["facts"] for event in events if event["kind"] != "counter"]
    assert facts == list(range(facts[0], facts[0] + len(facts)))
    assert len({event["run"] for event in events if event["kind"] == "log"}) == 1
