"""`deploy/nginx.conf` in front of three web processes: sockets, long polling, streams, and a rolling restart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from petiole.client import TaskClient, TaskView
from petiole.journal.redis.journal import RedisJournal
from petiole.protocol.events import Draft, Event, task_feed
from petiole.servers.processes import Processes
from petiole.servers.redis import free_port
from petiole.settings import Settings
from tests.integration.test_servers import APPLICATION
from tests.support.nginx import Site, answers, find_nginx, start_nginx
from tests.support.system import READY, ROOT, start_redis
from tests.support.waiting import wait_until

KINDS = ("websocket", "polling")
LOG = "log_format each '$request_method $request_uri $status $upstream_addr'; access_log access.log each;"


@dataclass
class Logged(Site):
    """A site whose nginx logs which process has answered which request."""

    access_log: Path

    def opened(self, name: str) -> str:
        feed = task_feed(name)
        self.journal.open(feed, owner="user:ann", draft=Draft("state", {"state": "queued", "title": "A task"}))
        return feed

    def say(self, feed: str, message: str) -> None:
        self.journal.append(feed, Draft("log", data={"level": "info", "message": message}))

    def addresses(self, of_each: int) -> list[int]:
        """Client addresses of which nginx sends so many to each process; they depend on the ports."""
        found: dict[int, list[int]] = {port: [] for port in self.webs}
        for number in range(1, 250):
            if all(len(numbers) == of_each for numbers in found.values()):
                return [number for numbers in found.values() for number in numbers]
            headers = {"X-Forwarded-For": f"10.0.0.{number}"}
            response = requests.get(f"{self.url}/petiole/alive", headers=headers, timeout=5)
            upstream = response.headers["X-Upstream"].rpartition(":")[2]
            if len(found[int(upstream)]) < of_each:
                found[int(upstream)].append(number)
        raise AssertionError(f"nginx doesn't use each of its processes: {found}")

    def answers(self) -> list[Answer]:
        """Socket.IO's answers so far, from nginx's log."""
        found = []
        for line in self.access_log.read_text().splitlines():
            method, uri, status, upstream = line.split(" ", 3)
            query = parse_qs(urlsplit(uri).query)
            if uri.startswith("/socket.io/"):
                # The last of the processes that nginx tried has answered.
                found.append(Answer(method, query.get("sid", [""])[0], int(status), upstream.split(", ")[-1]))
        return found


@dataclass(frozen=True)
class Answer:
    method: str
    sid: str
    status: int
    upstream: str


@dataclass
class Page:
    """One client with one view, and its events."""

    client: TaskClient
    view: TaskView
    events: list[Event] = field(default_factory=list)

    def heard(self, said: list[str]) -> bool:
        return messages(self.events) == said


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    find_nginx()
    directory = tmp_path_factory.mktemp("nginx")
    log: list[str] = []
    processes = Processes(lambda name, line: log.append(f"{name}: {line}"))
    port, redis_port = free_port(), free_port()
    webs = [free_port() for _ in range(3)]
    try:
        start_redis(processes, redis_port, directory)
        url = f"redis://127.0.0.1:{redis_port}/0"
        environment = {
            "CELERY_BROKER_URL": url,
            "PYTHONPATH": str(ROOT),
            "RIGHTS_ENDED": str(directory / "rights-ended"),
            "PETIOLE_RECONNECT_SPREAD": "0.5",
            # There is no worker; the tests append the tasks' events.
            "PETIOLE_UNHEARD_AFTER": "600",
        }
        journal = RedisJournal(Settings(journal_url=url))
        made = Logged(
            f"http://127.0.0.1:{port}",
            processes,
            f"{APPLICATION}()",
            environment,
            journal,
            {},
            directory / "access.log",
        )
        for web in webs:
            made.start_web(web)
        process = start_nginx(
            processes,
            directory,
            port=port,
            webs=webs,
            # The clients of this test are on one machine; the file recommends this for use behind another proxy.
            instead={
                "hash $remote_addr ": "hash $http_x_forwarded_for ",
                "access_log off;": LOG,
                "proxy_buffering off;": "proxy_buffering off; add_header X-Upstream $upstream_addr;",
            },
        )
        processes.wait_ready(process, timeout=READY, condition=lambda: answers(port))
        yield made
    finally:
        processes.stop()
        print("\n".join(log[-100:]))


@pytest.fixture
def pages(site: Logged) -> Iterator[Callable[[str, str, int], Page]]:
    """`pages(feed, kind, number)`: a client of one kind that watches a feed, as if from a separate address."""
    made: list[TaskClient] = []

    def page(feed: str, kind: str, number: int) -> Page:
        session = requests.Session()
        session.headers.update({"X-Person": "ann", "X-Forwarded-For": f"10.0.0.{number}"})
        client = TaskClient(site.url, session=session, transports=[kind])
        made.append(client)
        events: list[Event] = []
        view = client.watch(feed, on_event=events.append)
        view.wait_until(lambda document: document.get("state") == "queued", timeout=10)
        assert client._connection.socket.transport() == kind
        return Page(client, view, events)

    yield page
    for client in made:
        client.close()


def messages(events: list[Event]) -> list[str]:
    return [event.data["message"] for event in events if event.kind == "log"]


def test_events_arrive_live_by_both_transports_and_from_each_process(site: Logged, pages) -> None:
    feed = site.opened("both")
    before = len(site.answers())
    watching = [pages(feed, kind, number) for number in site.addresses(2) for kind in KINDS]
    said = [str(number) for number in range(50)]
    for message in said:
        site.say(feed, message)
    for page in watching:
        wait_until(lambda page=page: page.heard(said), timeout=20, what="every line, in order")  # type: ignore[misc]
    answers = site.answers()[before:]
    # Each stayed with one process, and each process had some.
    assert {answer.status for answer in answers} <= {101, 200}
    at: dict[str, set[str]] = {}
    for answer in answers:
        at.setdefault(answer.sid, set()).add(answer.upstream)
    assert all(len(upstreams) == 1 for sid, upstreams in at.items() if sid)
    assert {upstream for sid, upstreams in at.items() if sid for upstream in upstreams} == {
        f"127.0.0.1:{port}" for port in site.webs
    }


def test_a_stream_is_not_held_back(site: Logged) -> None:
    feed = site.opened("stream")
    url = f"{site.url}/petiole/tasks/stream/events"
    headers = {"X-Person": "ann", "Accept": "text/event-stream"}
    with requests.get(url, headers=headers, stream=True, timeout=10) as response:
        lines = response.iter_lines(decode_unicode=True)
        assert next(line for line in lines if line.startswith("event:")) == "event: state"
        site.say(feed, "now")
        # The task goes on, so a buffered event would stay in the buffer.
        assert next(line for line in lines if line.startswith("event:")) == "event: log"


def test_a_rolling_restart_of_all_three_loses_nothing_by_either_transport(site: Logged, pages) -> None:
    feed = site.opened("rolling")
    before = len(site.answers())
    watching = [pages(feed, kind, number) for number in site.addresses(2) for kind in KINDS]
    said: list[str] = []

    def say_and_hear(what: str) -> None:
        for _ in range(10):
            said.append(str(len(said)))
            site.say(feed, said[-1])
        for page in watching:
            wait_until(lambda page=page: page.heard(said), timeout=30, what=what)  # type: ignore[misc]

    for port in list(site.webs):
        site.stop_web(port)
        say_and_hear("every line, in order, by way of the other processes")
        site.start_web(port)
        # nginx tries it again, and sends its long-polling clients back to it, which doesn't know their sessions.
        say_and_hear("every line, in order, with all processes there again")
    site.journal.append(feed, Draft("state", {"state": "cancelled"}))
    for page in watching:
        assert page.view.wait(timeout=20)["state"] == "cancelled"
        receipt = page.view.receipt
        assert receipt is not None
        assert receipt.complete
        assert page.view.resets == 0
        # A client that got `Invalid session` opens a new one, and nginx may send a client back at this moment.
        wait_until(lambda page=page: page.client.connected, timeout=20, what="a connection for every page")  # type: ignore[misc]
    refused = [answer for answer in site.answers()[before:] if answer.status == 400]
    assert refused, "no session was lost on the way, so nothing of this was tested"
