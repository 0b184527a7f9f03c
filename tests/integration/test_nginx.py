"""`deploy/nginx.conf` in front of two web processes: sockets, streams, and a rolling restart."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import requests

from petiole.client import TaskClient
from petiole.demo.processes import Process, Processes
from petiole.demo.redis_server import free_port
from petiole.events import Draft, Event, task_feed
from petiole.journal.redis import RedisJournal
from petiole.settings import Settings
from tests.integration.system import READY, ROOT, start_redis
from tests.integration.test_servers import command
from tests.services import wait_until

CONFIGURATION = ROOT / "deploy" / "nginx.conf"


@dataclass
class Site:
    """nginx and the web processes behind it, by their ports."""

    url: str
    processes: Processes
    webs: dict[int, Process]
    environment: dict[str, str]
    journal: RedisJournal

    def start_web(self, port: int) -> None:
        self.webs[port] = self.processes.start(
            f"web{port}", command("gunicorn gevent", port), environment=self.environment, directory=ROOT
        )
        self.processes.wait_ready(self.webs[port], timeout=READY, condition=lambda: answers(port))

    def stop_web(self, port: int) -> None:
        process = self.webs.pop(port)
        os.kill(process.popen.pid, signal.SIGTERM)
        process.popen.wait(20)
        self.processes.forget(process)

    def opened(self, name: str) -> str:
        feed = task_feed(name)
        self.journal.open(feed, owner="user:ann", draft=Draft("state", {"state": "queued", "title": "A task"}))
        return feed

    def say(self, feed: str, message: str) -> None:
        self.journal.append(feed, Draft("log", data={"level": "info", "message": message}))


def answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/petiole/ready", timeout=2).ok
    except requests.RequestException:
        return False


def nginx() -> str:
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if found:
        return found
    remedy = "There is no nginx here. Install it with: apt install nginx-light"
    if os.environ.get("CI"):
        pytest.fail(remedy)
    pytest.skip(remedy)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    binary = nginx()
    directory = tmp_path_factory.mktemp("nginx")
    log: list[str] = []
    processes = Processes(lambda name, line: log.append(f"{name}: {line}"))
    port, first, second, redis_port = free_port(), free_port(), free_port(), free_port()
    text = CONFIGURATION.read_text()
    for documented, mine in (("8000", port), ("8001", first), ("8002", second)):
        assert f"127.0.0.1:{documented}" in text
        text = text.replace(f"127.0.0.1:{documented}", f"127.0.0.1:{mine}")
    (directory / "nginx.conf").write_text(text)
    try:
        start_redis(processes, redis_port, directory)
        url = f"redis://127.0.0.1:{redis_port}/0"
        environment = {
            "CELERY_BROKER_URL": url,
            "PYTHONPATH": str(ROOT),
            "RIGHTS_ENDED": str(directory / "rights-ended"),
            "PETIOLE_RECONNECT_SPREAD": "0.5",
        }
        journal = RedisJournal(Settings(journal_url=url))
        made = Site(f"http://127.0.0.1:{port}", processes, {}, environment, journal)
        for web in (first, second):
            made.start_web(web)
        options = ["-e", "stderr", "-p", str(directory), "-c", "nginx.conf", "-g", "daemon off; error_log stderr;"]
        process = processes.start("nginx", [binary, *options])
        processes.wait_ready(process, timeout=READY, condition=lambda: answers(port))
        yield made
    finally:
        processes.stop()
        print("\n".join(log[-100:]))


@pytest.fixture
def ann(site: Site) -> Iterator[TaskClient]:
    session = requests.Session()
    session.headers["X-Person"] = "ann"
    client = TaskClient(site.url, session=session)
    yield client
    client.close()


def messages(events: list[Event]) -> list[str]:
    return [event.data["message"] for event in events if event.kind == "log"]


def test_events_arrive_live_over_a_websocket(site: Site, ann: TaskClient) -> None:
    feed = site.opened("websocket")
    events: list[Event] = []
    view = ann.watch(feed, on_event=events.append)
    view.wait_until(lambda document: document.get("state") == "queued", timeout=10)
    assert ann._socket.transport() == "websocket"
    for number in range(50):
        site.say(feed, str(number))
    wait_until(lambda: messages(events) == [str(number) for number in range(50)], 10, "every line, in order")


def test_a_stream_is_not_held_back(site: Site) -> None:
    feed = site.opened("stream")
    url = f"{site.url}/petiole/tasks/stream/events"
    headers = {"X-Person": "ann", "Accept": "text/event-stream"}
    with requests.get(url, headers=headers, stream=True, timeout=10) as response:
        lines = response.iter_lines(decode_unicode=True)
        assert next(line for line in lines if line.startswith("event:")) == "event: state"
        site.say(feed, "now")
        # The task goes on, so whatever a buffer held would stay there.
        assert next(line for line in lines if line.startswith("event:")) == "event: log"


def test_a_rolling_restart_loses_nothing(site: Site, ann: TaskClient) -> None:
    feed = site.opened("rolling")
    events: list[Event] = []
    view = ann.watch(feed, on_event=events.append)
    view.wait_until(lambda document: document.get("state") == "queued", timeout=10)
    said = []
    for port in list(site.webs):
        site.stop_web(port)
        for _ in range(10):
            said.append(str(len(said)))
            site.say(feed, said[-1])
        wait_until(lambda: messages(events) == said, 30, "every line, in order, by way of the other process")
        site.start_web(port)
    site.journal.append(feed, Draft("state", {"state": "cancelled"}))
    assert view.wait(timeout=20)["state"] == "cancelled"
    receipt = view.receipt
    assert receipt is not None
    assert receipt.complete
