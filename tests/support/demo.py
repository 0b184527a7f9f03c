"""`petiole demo` as a separate process, its children, and its output."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.support.system import ROOT
from tests.support.waiting import wait_until

READY = 120.0
ENDS = 60.0
DATABASE = "nycflights13.sqlite"
STATIC = ROOT / "src" / "petiole" / "demo"

# The installed command, with default signal handling: a test run in the background ignores Ctrl-C, one under `nohup` a
# hang-up, and its children would inherit that.
COMMAND = """
import signal
from petiole.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
main()
"""

# Hides installed packages from a Python process.
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


# Marks the environment of a test's processes, so that all their descendants can be found.
MARK = "STARTED_BY_TEST"


@dataclass(frozen=True)
class Running:
    pid: int
    parent: int
    command: str


def processes_of_this_machine() -> list[Running]:
    """Every running process; from `/proc`, elsewhere from `ps`."""
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
    """The processes that inherited the mark; without `/proc` none."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
        except OSError:
            continue  # it has ended meanwhile, or isn't ours
    return found & {process.pid for process in processes_of_this_machine()}


def environment(**more: str) -> dict[str, str]:
    """The environment without settings for Celery, Flask or Petiole."""
    foreign = ("PETIOLE_", "CELERY_", "FLASK_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | more


def command(*options: object) -> list[str]:
    return [sys.executable, "-c", COMMAND, "demo", *map(str, options)]


class Demo:
    """One `petiole demo`, and its output."""

    def __init__(self, *options: object) -> None:
        self.mark = uuid.uuid4().hex
        proxy = "http://127.0.0.1:9"
        self.popen = subprocess.Popen(
            command(*options),
            # With a proxy that doesn't answer: the demo mustn't use it.
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

        wait_until(said, what=f"the demo prints {text!r}", timeout=READY)

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


def refused(*options: object, **more: str) -> str:
    """The output of `petiole demo` when it can't start: one error, no traceback, exit code 1, within seconds."""
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
