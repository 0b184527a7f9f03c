"""Separate hosts on one machine: a network namespace for each, and cables to a switch that a test can unplug."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

NETWORK = "10.77.0"
SWITCH = "switch"


@dataclass
class Hosts:
    """Namespaces named after this process, so that two runs are separate; `addresses` are those of the hosts, by name."""

    names: Sequence[str]
    prefix: str = field(default_factory=lambda: f"petiole-{os.getpid()}")

    @property
    def addresses(self) -> dict[str, str]:
        return {name: f"{NETWORK}.{number}" for number, name in enumerate(self.names, start=1)}

    def on(self, host: str, *command: str) -> list[str]:
        """Return the command that runs `command` on a host."""
        return ["ip", "netns", "exec", f"{self.prefix}-{host}", *command]

    def cut(self, host: str) -> None:
        """Unplug a host's cable from the switch; its processes and their connections aren't notified."""
        self._ip("-netns", f"{self.prefix}-{SWITCH}", "link", "set", host, "down")

    def heal(self, host: str) -> None:
        self._ip("-netns", f"{self.prefix}-{SWITCH}", "link", "set", host, "up")

    def make(self) -> None:
        switch = self._add(SWITCH)
        self._ip("-netns", switch, "link", "add", "bridge", "type", "bridge")
        self._ip("-netns", switch, "link", "set", "bridge", "up")
        for host, address in self.addresses.items():
            space = self._add(host)
            self._ip("-netns", switch, "link", "add", host, "type", "veth", "peer", "name", "cable", "netns", space)
            self._ip("-netns", switch, "link", "set", host, "master", "bridge", "up")
            self._ip("-netns", space, "address", "add", f"{address}/24", "dev", "cable")
            self._ip("-netns", space, "link", "set", "cable", "up")

    def remove(self) -> None:
        """Remove all of it; the cables are removed with the hosts."""
        there = self._ip("netns", "list").split()
        for name in (*self.names, SWITCH):
            if f"{self.prefix}-{name}" in there:
                self._ip("netns", "delete", f"{self.prefix}-{name}")

    def _add(self, name: str) -> str:
        space = f"{self.prefix}-{name}"
        self._ip("netns", "add", space)
        self._ip("-netns", space, "link", "set", "lo", "up")
        return space

    @staticmethod
    def _ip(*arguments: str) -> str:
        run = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=10, check=False)
        if run.returncode:
            raise OSError(f"ip {' '.join(arguments)}: {run.stderr.strip()}")
        return run.stdout


@contextmanager
def hosts(*names: str) -> Iterator[Hosts]:
    """Hosts that reach only each other; without the right to create them a test fails in CI and is skipped elsewhere."""
    if shutil.which("ip") is None:
        _without("There is no `ip` here. Install it with: apt install iproute2")
    if os.geteuid() != 0:
        _without("Only root may make network namespaces. Run this test as root.")
    made = Hosts(names)
    try:
        try:
            made.make()
        except OSError as error:
            _without(
                f"Network namespaces can't be made here ({error}). Run this test where root may: not in a container."
            )
        yield made
    finally:
        made.remove()


def _without(remedy: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(remedy)
    pytest.skip(remedy)
