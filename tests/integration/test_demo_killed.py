"""A demo that gets no chance to clean up: its processes end with it, and its data stays locked until they have."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from petiole.errors import SetupError
from petiole.servers.guardian import left_of
from petiole.servers.lock import locked
from petiole.servers.postgres import PostgresCluster, command_of
from petiole.servers.processes import Processes
from petiole.servers.redis import free_port
from petiole.servers.secret import kept_secret
from tests.conftest import postgres_binaries
from tests.support.demo import (
    MARK,
    Demo,
    command,
    environment,
    marked,
    processes_of_this_machine,
    refused,
    running,
)
from tests.support.rabbitmq import new_directory
from tests.support.waiting import wait_until


def pipes_of(pid: int) -> set[str]:
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found.add(os.readlink(descriptor))
    return {each for each in found if each.startswith("pipe:")}


def guardians(parent: int) -> set[int]:
    """The guardians of a process's children: they are orphans that read a pipe from that process."""
    mine = pipes_of(parent)
    found = set()
    for each in processes_of_this_machine():
        if "servers/guardian.py" in each.command:
            with suppress(OSError):
                if os.readlink(f"/proc/{each.pid}/fd/0") in mine:
                    found.add(each.pid)
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_a_demo_that_is_killed_leaves_nothing_and_can_be_started_again_at_once(
    demo_directory: Path, number: signal.Signals
) -> None:
    with running("--port", 0, "--directory", demo_directory) as demo:
        assert len(demo.family) >= 6
        os.kill(demo.popen.pid, number)
        assert demo.wait_ended() == -number
        with running("--port", 0, "--directory", demo_directory) as again:
            demo.assert_no_child_is_left()
            assert again.url


@pytest.mark.parametrize("line", ["redis │", "web │", "worker │"])
def test_a_demo_that_is_killed_while_it_starts_leaves_nothing(demo_directory: Path, line: str) -> None:
    with running("--port", 0, "--directory", demo_directory, ready=False) as demo:
        demo.wait_for(line)
        demo.family = demo.descendants()
        demo.popen.kill()
        demo.wait_ended()
        demo.assert_no_child_is_left()


def test_a_demo_whose_terminal_is_closed_ends_with_all_of_its_processes(demo_directory: Path) -> None:
    mark = demo_directory.as_posix()
    terminal, side = pty.openpty()
    takes_terminal = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
    python, option, script, *options = command("--port", 0, "--directory", demo_directory)
    demo = subprocess.Popen(
        [python, option, f"{takes_terminal}\n{script}", *options],
        env=environment(**{MARK: mark}),
        stdin=side,
        stdout=side,
        stderr=side,
        start_new_session=True,
    )
    os.close(side)
    said = b""
    while b"Ready after" not in said:
        said += os.read(terminal, 65536)
    assert len(marked(mark)) >= 6
    os.close(terminal)
    demo.wait(30)
    wait_until(lambda: not marked(mark), what="every process has ended", timeout=10)


def test_a_server_that_outlives_its_demo_keeps_others_out_and_is_named(demo_directory: Path) -> None:
    with running("--port", 0, "--directory", demo_directory) as demo:
        server = demo.child("redis-server")
        [guardian] = guardians(demo.popen.pid)
        # Both at once, as by a kill by name, which the server doesn't share.
        os.kill(guardian, signal.SIGKILL)
        demo.popen.kill()
        demo.wait_ended()
        try:
            for child in demo.family:
                if child.pid != server.pid:
                    with suppress(ProcessLookupError):
                        os.kill(child.pid, signal.SIGKILL)
            said = refused("--port", 0, "--directory", demo_directory)
            assert said.startswith(
                f"redis (process {server.pid}) of an earlier petiole demo still runs in {demo_directory}"
            )
            assert said.endswith("End it, or choose another directory with --directory.")
        finally:
            os.kill(server.pid, signal.SIGTERM)
    with running("--port", 0, "--directory", demo_directory) as again:
        assert again.url


def test_of_two_demos_that_start_together_one_is_refused(demo_directory: Path) -> None:
    demos = [Demo("--port", 0, "--directory", demo_directory) for _ in range(2)]
    try:
        wait_until(lambda: any(demo.popen.poll() is not None for demo in demos), what="one is refused", timeout=30)
        [loser] = [demo for demo in demos if demo.popen.poll() is not None]
        [winner] = [demo for demo in demos if demo is not loser]
        loser.wait_ended()
        assert f"Error: Another petiole demo runs in {demo_directory}. Stop it" in loser.text
        winner.wait_ready()
        assert len([each for each in winner.family if "redis-server" in each.command]) == 1
    finally:
        for demo in demos:
            demo.close()


def test_what_a_power_cut_leaves_is_no_lock_and_no_secret(demo_directory: Path) -> None:
    for name in ("lock", "servers"):
        (demo_directory / name).write_text(f"redis {os.getpid()}\n")
    (demo_directory / "secret").touch()
    with running("--port", 0, "--directory", demo_directory) as demo:
        assert demo.url
    assert len((demo_directory / "secret").read_text()) == 64


def test_a_secret_stays_what_it_was(tmp_path: Path) -> None:
    secret = kept_secret(tmp_path / "secret")
    assert kept_secret(tmp_path / "secret") == secret
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def test_the_lock_is_free_when_its_last_holder_has_ended(tmp_path: Path) -> None:
    with locked(tmp_path) as servers:
        with pytest.raises(SetupError, match="Another petiole demo runs in"), locked(tmp_path):
            pass
        holder = subprocess.Popen(["sleep", "60"], pass_fds=(servers,))
        os.write(servers, f"sleeper {holder.pid}\n".encode())
    said = rf"^sleeper \(process {holder.pid}\) of an earlier"
    with pytest.raises(SetupError, match=said), locked(tmp_path, servers_end_within=0.2):
        pass
    holder.kill()
    holder.wait(5)
    with locked(tmp_path, servers_end_within=0):
        assert (tmp_path / "servers").read_text() == ""


def test_processes_whose_guardian_was_killed_are_not_watched_over_as_if_nothing_had_been() -> None:
    of_others = guardians(os.getpid())
    processes = Processes(lambda name, line: None)
    try:
        child = processes.start("child", ["sleep", "60"])
        processes.check()
        [guardian] = guardians(os.getpid()) - of_others
        os.kill(guardian, signal.SIGKILL)

        def noticed() -> bool:
            with suppress(SetupError):
                processes.check()
                return False
            return True

        wait_until(noticed, what="the guardian's end was noticed", timeout=5)
    finally:
        processes.stop()
    assert not child.is_alive()


def test_processes_that_were_stopped_leave_no_guardian_and_can_be_started_again() -> None:
    of_others = guardians(os.getpid())
    processes = Processes(lambda name, line: None)
    for _ in range(2):
        killed, child = (processes.start(name, ["sleep", "60"]) for name in ("killed", "child"))
        processes.kill(killed)
        assert len(guardians(os.getpid()) - of_others) == 1
        processes.stop()
        assert not child.is_alive()
        assert guardians(os.getpid()) == of_others


@pytest.mark.parametrize("word", ["SIGKILL", "os._exit"])
def test_a_childs_child_in_its_group_ends_with_the_parent(tmp_path: Path, word: str) -> None:
    mark = tmp_path.as_posix()
    end = {"SIGKILL": "os.kill(os.getpid(), 9)", "os._exit": "os._exit(0)"}[word]
    script = f"""
import os
from petiole.servers.processes import Processes

processes = Processes(lambda name, line: print(line, flush=True))
child = processes.start("child", ["sh", "-c", "sleep 60 & echo started; sleep 60"], ready_line="started")
processes.wait_ready(child, timeout=20)
processes.start("base", ["sleep", "60"], is_base=True)
{end}
"""
    subprocess.run([sys.executable, "-c", script], env=environment(**{MARK: mark}), timeout=30, check=False)
    wait_until(lambda: not marked(mark), what="all of them have ended", timeout=10)


def test_the_guardian_knows_who_is_left() -> None:
    lines = ["10 other\n", "11 base\n", "12 other\n", "-10\n", "-99\n", "12 other\n"]
    assert left_of(lines) == {11: True, 12: False}


@pytest.fixture
def cluster() -> Iterator[PostgresCluster]:
    with new_directory() as directory:
        yield PostgresCluster(postgres_binaries(), Path(directory), free_port())


def test_data_of_postgresql_that_was_cut_short_while_it_was_made_is_made_anew(cluster: PostgresCluster) -> None:
    draft = cluster.directory / "data.draft-1"
    draft.mkdir()
    (draft / "PG_VERSION").write_text("15\n")
    cluster.prepare()
    assert not draft.exists()
    assert (cluster.directory / "data" / "global").is_dir()


def test_a_note_of_postgresqls_whose_process_is_another_by_now_is_no_lock(cluster: PostgresCluster) -> None:
    cluster.prepare()
    note = cluster.directory / "data" / "postmaster.pid"
    for stale in (f"{os.getpid()}\n", "999999999\n", "", "x\n"):
        note.write_text(stale)
        cluster.forget_dead()
        assert not note.exists(), stale
    processes = Processes(lambda name, line: None)
    try:
        server = processes.start("postgres", cluster.command)
        processes.wait_ready(server, timeout=60, condition=cluster.answers)
        assert re.search(r"postgres -D", command_of(server.popen.pid))
        cluster.forget_dead()
        assert note.read_text().startswith(f"{server.popen.pid}\n")
    finally:
        processes.stop()
