"""The servers in the documentation, each with a real client: events arrive live, calls are answered, and it reconnects."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import requests

from petiole.client import TaskClient, TaskView
from petiole.journal.redis.journal import RedisJournal
from petiole.protocol.events import Draft, Event, inbox_feed, task_feed
from petiole.servers.processes import Process, Processes
from petiole.servers.redis import free_port
from petiole.settings import Settings
from tests.support.system import READY, ROOT, start_redis
from tests.support.waiting import wait_until

APPLICATION = "tests.apps.hostile_app:create_app"
THREADS = {"ASYNC_MODE": "threading"}
RUN = "from {0} import {1}; app = {1}(); app.extensions['socketio'].run(app, port={2}, allow_unsafe_werkzeug=True)"
GUNICORN = ("-m", "gunicorn", "--no-control-socket", "--graceful-timeout", "1")
GEVENT = (*GUNICORN, "--worker-class", "geventwebsocket.gunicorn.workers.GeventWebSocketWorker")
# As in docs/web.md: a thread for each open page, and some for the calls.
GTHREAD = (*GUNICORN, "--worker-class", "gthread", "--threads", "100")


def command(server: str, port: int) -> list[str]:
    module, _, factory = APPLICATION.partition(":")
    bind = ("--bind", f"127.0.0.1:{port}", f"{APPLICATION}()")
    return [
        sys.executable,
        *{
            "gunicorn gevent": (*GEVENT, *bind),
            "gunicorn gevent, another": (*GEVENT, *bind),
            "gunicorn gthread": (*GTHREAD, *bind),
            "socketio.run": ("-c", RUN.format(module, factory, port)),
            "flask run": ("-m", "flask", "--app", APPLICATION, "run", "--port", str(port)),
        }[server],
    ]


SERVERS = ("gunicorn gevent", "gunicorn gevent, another", "gunicorn gthread", "socketio.run", "flask run")


@dataclass
class Server:
    url: str
    process: Process
    journal: RedisJournal
    clients: list[TaskClient] = field(default_factory=list)

    def client(self, person: str) -> TaskClient:
        session = requests.Session()
        session.headers["X-Person"] = person
        client = TaskClient(self.url, session=session)
        self.clients.append(client)
        return client

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/petiole/ready", timeout=2).ok
        except requests.RequestException:
            return False


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Server]]:
    """All of them with one journal, started at once."""
    directory = tmp_path_factory.mktemp("servers")
    log: list[str] = []
    processes = Processes(lambda name, line: log.append(f"{name}: {line}"))
    redis_port = free_port()
    started: dict[str, Server] = {}
    try:
        start_redis(processes, redis_port, directory)
        url = f"redis://127.0.0.1:{redis_port}/0"
        journal = RedisJournal(Settings(journal_url=url))
        for name in SERVERS:
            port = free_port()
            environment = {
                "CELERY_BROKER_URL": url,
                "PYTHONPATH": str(ROOT),
                "RIGHTS_ENDED": str(directory / "rights-ended"),
                # There is no worker; the tests append the tasks' events.
                "PETIOLE_UNHEARD_AFTER": "600",
                **({} if "gevent" in name else THREADS),
            }
            process = processes.start(name, command(name, port), environment=environment, directory=ROOT)
            started[name] = Server(f"http://127.0.0.1:{port}", process, journal)
        for server in started.values():
            processes.wait_ready(server.process, timeout=2 * READY, condition=server.answers)
        yield started
    finally:
        for server in started.values():
            for client in server.clients:
                client.close()
        processes.stop()
        Path(directory / "servers.log").write_text("\n".join(log))
        print("\n".join(log[-100:]))


def opened(server: Server, name: str) -> str:
    feed = task_feed(name)
    server.journal.open(feed, owner="user:ann", draft=Draft("state", {"state": "queued", "title": "A task"}))
    return feed


def watched(server: Server, feed: str, events: list[Event], person: str = "ann") -> TaskView:
    view = server.client(person).watch(feed, on_event=events.append)
    view.wait_until(lambda document: document.get("state") == "queued", timeout=10)
    return view


def say(server: Server, feed: str, message: str) -> None:
    server.journal.append(feed, Draft("log", data={"level": "info", "message": message}))


def messages(events: list[Event]) -> list[str]:
    return [event.data["message"] for event in events if event.kind == "log"]


@pytest.mark.parametrize("name", [name for name in SERVERS if "another" not in name])
def test_a_task_is_followed_live_cancelled_and_found_again(servers: dict[str, Server], name: str) -> None:
    server = servers[name]
    feed = opened(server, f"live-{SERVERS.index(name)}")
    events: list[Event] = []
    view = watched(server, feed, events)
    for number in range(20):
        say(server, feed, str(number))
    wait_until(lambda: len(messages(events)) == 20, what="the lines arrived")
    others = [watched(server, feed, []) for _ in range(8)]
    view._client.cut()
    say(server, feed, "while it was away")
    wait_until(lambda: messages(events)[-1] == "while it was away", timeout=10, what="it came back")
    assert view.cancel()["status"] == 202
    for each in (view, *others):
        assert each.wait(timeout=10)["state"] == "cancelled"
        assert each.receipt is not None
        assert each.receipt.complete
    monitor = f"{server.url}/petiole/tasks/{feed[5:]}"
    assert requests.get(monitor, headers={"X-Person": "ann"}, timeout=5).json()["document"]["state"] == "cancelled"
    assert requests.get(monitor, headers={"X-Person": "bob"}, timeout=5).status_code == 404


def test_two_processes_with_one_journal_show_the_same(servers: dict[str, Server]) -> None:
    one, two = servers["gunicorn gevent"], servers["gunicorn gevent, another"]
    feed = opened(one, "both")
    seen: list[list[Event]] = [[], []]
    views = [watched(server, feed, events) for server, events in zip((one, two), seen, strict=True)]
    say(one, feed, "hello")
    for events in seen:
        wait_until(lambda heard=events: messages(heard) == ["hello"], what="both have received it")  # type: ignore[misc]
    # Called at one, received at the other.
    assert views[1].cancel()["status"] == 202
    assert [view.wait(timeout=10)["state"] for view in views] == ["cancelled", "cancelled"]
    assert [event.id for event in seen[0]] == [event.id for event in seen[1]]
    wait_until(
        lambda: one.journal.snapshot(inbox_feed("user:ann")) is not None, timeout=10, what="its notice is delivered"
    )
    inbox = two.client("ann").watch(inbox_feed("user:ann"))
    inbox.wait_until(lambda document: feed in document, timeout=10)


@pytest.mark.parametrize("name", ["gunicorn gevent", "gunicorn gthread", "flask run"])
def test_a_process_that_ends_sends_its_browsers_away(servers: dict[str, Server], name: str) -> None:
    server = servers[name]
    view = watched(server, opened(server, f"end-{SERVERS.index(name)}"), [])
    told: list[object] = []
    view._client._connection.socket.on("reconnect", told.append, namespace="/petiole")
    server.process.popen.terminate()
    wait_until(lambda: told, timeout=10, what="it was told to reconnect")
    assert server.process.popen.wait(15) is not None
