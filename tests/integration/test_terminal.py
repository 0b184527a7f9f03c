"""`petiole watch`, `petiole tasks` and `petiole events`: in the journal and over the socket, on a real system."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from petiole import Petiole
from petiole.cli import cli
from petiole.client import TaskClient
from petiole.testing import Tape, play
from tests.support.nearby import make_app, served
from tests.support.system import System
from tests.support.waiting import wait_until

ANN = ("--header", "X-Person: ann")


def petiole(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


@pytest.fixture
def in_journal(system: System) -> tuple[str, ...]:
    return "--journal-url", system.redis_url


def start(system: System, task: str, *args: object) -> str:
    return system.client("ann").start(f"/start/{task}", {"args": args}).feed.removeprefix("task:")


def address(system: System, task: str) -> str:
    return f"{system.url}/petiole/tasks/{task}"


@pytest.mark.parametrize(
    ("task", "code", "end"),
    [
        ("write_texts", 0, "Write texts: succeeded"),
        ("raise_explained", 1, "Raise explained: failed"),
    ],
)
def test_watch_shows_a_task_to_its_end_and_exits_with_its_state(
    system: System, in_journal: tuple[str, ...], task: str, code: int, end: str
) -> None:
    started = start(system, task, *([3] if task == "write_texts" else []))
    for done in (petiole("watch", address(system, started), *ANN), petiole("watch", started, *in_journal)):
        assert done.exit_code == code, done.output
        lines = done.output.splitlines()
        assert lines[-1].startswith(end)
        assert lines[:2] == ["queued", "running"]
        if task == "write_texts":
            assert sorted(lines[2:-2]) == ["0 漢 1 漢 2 漢 ", "log │ line 0"]
            assert lines[-2] == "succeeded"


def test_a_cancelled_task_is_exit_code_3_and_quiet_says_the_end_alone(
    system: System, in_journal: tuple[str, ...]
) -> None:
    view = system.client("ann").start("/start/count_slowly", {"args": [2000]})
    view.wait_until(lambda document: document.get("state") == "running", timeout=20)
    view.cancel()
    done = petiole("watch", "--quiet", view.feed, *in_journal)
    assert done.exit_code == 3
    assert [line.split(",")[0] for line in done.output.splitlines()] == ["Count slowly: cancelled"]


@contextmanager
def on_a_terminal(*words: str) -> Iterator[Callable[[Callable[[str], bool]], str]]:
    """Run a command on a terminal of its own, and press Ctrl-C at the end; yields a call that reads until enough is drawn."""
    screen, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "160"}
    command = [sys.executable, "-m", "petiole.cli", *words]
    running = subprocess.Popen(command, stdout=terminal, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(terminal)
    drawn = ""

    def read_until(enough: Callable[[str], bool]) -> str:
        nonlocal drawn
        ends = time.monotonic() + 30
        while not enough(drawn):
            assert time.monotonic() < ends, drawn
            drawn += os.read(screen, 4096).decode(errors="replace")
        return drawn

    try:
        yield read_until
        running.send_signal(signal.SIGINT)
        # The terminal has to be read, or its writer waits; it ends with an error.
        with suppress(OSError):
            while os.read(screen, 4096):
                pass
        _, said = running.communicate(timeout=20)
        assert running.returncode == 130, said
        assert "Traceback" not in said
        assert words[0] == "tasks" or "Stopped watching. The task goes on." in said
    finally:
        running.kill()
        os.close(screen)


def test_a_bar_and_a_table_are_live_on_a_terminal_and_control_c_leaves_the_task_alone(system: System) -> None:
    view = system.client("ann").start("/start/count_slowly", {"args": [2000]})
    with on_a_terminal("watch", address(system, view.feed[5:]), *ANN) as read_until:
        read_until(lambda drawn: "━" in drawn and "running, " in drawn)
    with on_a_terminal("tasks", system.url, "--state", "running", "--limit", "1", *ANN) as read_until:
        # Its count is another one each time that the table is drawn.
        read_until(lambda drawn: len(set(re.findall(r"running +(\d+)", drawn))) >= 2)
    assert view.document["state"] == "running"
    view.cancel()
    view.wait(timeout=20)


def test_events_are_lines_and_with_json_a_tape_that_plays(
    system: System, in_journal: tuple[str, ...], tmp_path: Path
) -> None:
    task = start(system, "write_texts", 3)
    facts = petiole("events", "--json", task, *in_journal)
    assert facts.exit_code == 0, facts.output
    kinds = [json.loads(line)["kind"] for line in facts.output.splitlines()]
    assert kinds[:2] == ["state", "state"]
    assert "text" not in kinds
    assert petiole("events", task, *in_journal).output.splitlines()[-1].startswith("succeeded")
    # It has come already when it is recorded: its texts are laid between its facts.
    for done in (
        petiole("events", "--json", "--all", address(system, task), *ANN),
        petiole("events", "--json", "--all", task, *in_journal),
    ):
        assert done.exit_code == 0, done.output
        (tmp_path / "tape.jsonl").write_text(done.output, encoding="utf-8")
        tape = Tape.load(tmp_path / "tape.jsonl")
        with play(tape, double={3}, cut={4}, lockstep=True) as player:
            client = TaskClient(player.url)
            taped, real = client.watch(player.feed), system.client("ann").watch(f"task:{task}")
            real.wait(timeout=10)
            player.wait()
            taped.wait(timeout=10)
            client.close()
        assert taped.document == real.document
        assert taped.texts == real.texts != {}
        assert taped.receipt == real.receipt
        assert taped.receipt.complete


def test_events_of_a_running_task_are_what_is_kept_now_if_it_is_not_followed(
    system: System, in_journal: tuple[str, ...]
) -> None:
    view = system.client("ann").start("/start/count_slowly", {"args": [2000]})
    view.wait_until(lambda document: document.get("state") == "running", timeout=20)
    for where in ((view.feed, *in_journal), (address(system, view.feed[5:]), *ANN)):
        assert petiole("events", "--no-follow", *where).output.splitlines()[:2] == ["queued", "running"]
    view.cancel()
    view.wait(timeout=20)


def test_tasks_are_a_table_of_the_application_and_of_the_journal(system: System, in_journal: tuple[str, ...]) -> None:
    view = system.client("ann").start("/start/count", {"args": [3]})
    view.wait(timeout=20)
    for where in ((system.url, *ANN), (f"{system.url}/petiole/tasks", *ANN), ("--owner", "user:ann", *in_journal)):
        done = petiole("tasks", "--state", "succeeded", "--limit", "3", *where)
        assert done.exit_code == 0, done.output
        head, first, *_ = done.output.splitlines()
        assert head.split() == ["id", "task", "state", "progress", "since"]
        assert "succeeded" in first
    assert "No tasks." in petiole("tasks", "--owner", "nobody-yet", *in_journal).output


def test_a_token_is_enough_and_a_wrong_one_is_a_sentence(redis_url: str) -> None:
    app = make_app(redis_url, web := Petiole())
    with served(app) as site:
        feed, other = site.open(), site.open("user:bob")
        site.say(feed, "only the token's holder reads this")
        site.end(feed)
        with app.app_context():
            token, owners = web.token(feed), web.token(owner="user:ann")
        done = petiole("watch", site.tasks(feed), "--token", token)
        assert (done.exit_code, done.output.splitlines()[1]) == (1, "only the token's holder reads this")
        assert "failed" in petiole("tasks", site.url, "--token", owners).output
        for words, said in (
            (("watch", site.tasks(other), "--token", token), "Pass --token, or your session's cookie"),
            (("watch", site.tasks(feed), "--token", "nothing"), "Pass --token, or your session's cookie"),
            (("tasks", site.url, "--token", token), "Pass --token, or your session's cookie"),
        ):
            refused = petiole(*words)
            assert refused.exit_code == 5, refused.output
            assert said in refused.output


def test_a_group_is_watched_as_a_task_is(system: System, in_journal: tuple[str, ...]) -> None:
    tasks = [["count", [3]], ["raise_explained"], ["count", [2]]]
    answer = system.session("ann").post(
        f"{system.url}/canvas/group", json={"tasks": tasks, "title": "Both"}, timeout=10
    )
    group = answer.json()["id"]
    for where in ((f"{system.url}/petiole/tasks/{group}", *ANN), (group, *in_journal)):
        done = petiole("watch", *where)
        assert done.exit_code == 1, done.output
        assert done.output.splitlines()[-1].startswith("Both: failed, 3 of 3")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("watch", "{url}/petiole/tasks/nothing"), 5, "There is no such task here, or it isn't yours. Pass --token"),
        (("watch", "{url}/elsewhere/tasks/nothing"), 5, "answers 404 NOT FOUND, and no answer of Petiole's."),
        (("watch", "{url}"), 2, "isn't the address of a task. It looks like https://"),
        (("watch", "ftp://host/petiole/tasks/a"), 2, "isn't an http:// or https:// address."),
        (("watch", "http://127.0.0.1:1/petiole/tasks/a"), 5, "Nobody answers at http://127.0.0.1:1/petiole/tasks/a"),
        (("watch", "no id"), 2, "no id is neither the id of a task nor its address."),
        (("watch", "nothing", "--journal-url", "{redis}"), 5, "The journal has no task task:nothing. Look at the id"),
        (("events", "nothing", "--journal-url", "redis://127.0.0.1:1/0"), 5, "Redis at 127.0.0.1:1/0 doesn't answer"),
        (("events", "nothing", "--journal-url", "mysql://host/db"), 5, "Set it to a redis://"),
        (("watch", "{url}/petiole/tasks/a", "-H", "X-Person"), 2, "isn't of the form 'Name: value'"),
        (("tasks",), 2, "Say whose tasks"),
        (("tasks", "{url}", "--state", "odd"), 5, "There is no state 'odd'."),
        (("tasks", "--owner", "ann", "--journal-url", "redis://127.0.0.1:1/0"), 5, "doesn't answer"),
    ],
)
def test_what_cannot_be_watched_is_a_sentence_and_a_code(
    system: System, words: tuple[str, ...], code: int, said: str
) -> None:
    done = petiole(*(word.format(url=system.url, redis=system.redis_url) for word in words))
    assert done.exit_code == code, done.output
    assert said in " ".join(done.output.split())
    assert not isinstance(done.exception, Exception) or isinstance(done.exception, SystemExit)


def test_a_journal_that_goes_away_while_a_task_is_watched_comes_back(own_system: System, tmp_path: Path) -> None:
    gate = own_system.gate("end")
    view = own_system.client("ann").start("/start/count", {"args": [3, {"1": str(gate)}]})
    with (tmp_path / "said").open("w+", encoding="utf-8") as said:
        command = [sys.executable, "-m", "petiole.cli", "watch", view.feed, "--journal-url", own_system.redis_url]
        watching = subprocess.Popen(command, stdout=said, stderr=said)
        try:
            wait_until(lambda: "running" in (tmp_path / "said").read_text(), what="it shows the task", timeout=20)
            own_system.kill_redis()
            wait_until(lambda: "doesn't answer" in (tmp_path / "said").read_text(), what="it says so", timeout=20)
            own_system.start_redis()
            gate.touch()
            assert watching.wait(40) == 0, (tmp_path / "said").read_text()
        finally:
            watching.kill()
        assert "It goes on." in (tmp_path / "said").read_text()
