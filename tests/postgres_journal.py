"""A real PostgreSQL server that a journal is kept in, for tests: on a free port, to kill, restart and pause."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path

import psycopg

from petiole.demo.redis_server import free_port
from tests.services import wait_until

START_WITHIN = 20.0
SUPERUSER = "postgres"


def _unprivileged() -> list[str]:
    """What to put before a command: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return []
    user = pwd.getpwnam(SUPERUSER)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


class JournalServer:
    """One PostgreSQL server on loopback, with a port and a directory that stay its own through every restart.

    It doesn't sync to disk, so it is for faults of its processes and not of its machine.
    """

    def __init__(self, binaries: Path, directory: Path) -> None:
        self._binaries = binaries
        # Below a directory that the unprivileged user can enter.
        self.directory = directory
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.database("postgres")

    def database(self, name: str) -> str:
        """Return the URL of one of its databases."""
        return f"postgresql://{SUPERUSER}@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        """Make its data if there is none, start it and wait until it answers."""
        data = self.directory / "data"
        if not data.exists():
            self._make(data)
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": "200",
            "shared_buffers": "32MB",
        }
        command = [*_unprivileged(), str(self._binaries / "postgres"), "-D", str(data)]
        command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self.directory / "server.log").open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            wait_until(self.answers, START_WITHIN, f"PostgreSQL answers on port {self.port}")
        except AssertionError as error:
            self.kill()
            log = (self.directory / "server.log").read_text(errors="replace")
            raise AssertionError(f"{error} Its log ends: {log[-800:]}") from None

    def answers(self) -> bool:
        """Say whether it takes connections; false while it recovers."""
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(f"PostgreSQL ended with {self._process.returncode} at its start.")
        try:
            self.client().close()
        except psycopg.OperationalError:
            return False
        return True

    def client(self) -> psycopg.Connection:
        """Return a connection of the superuser, in autocommit mode."""
        return psycopg.connect(self.url, autocommit=True, connect_timeout=2)

    def create(self, name: str) -> str:
        """Create a database and return its URL."""
        with self.client() as connection:
            connection.execute(f'CREATE DATABASE "{name}"')
        return self.database(name)

    def kill(self) -> None:
        """End it at once with all its processes, as when its machine dies."""
        process, self._process = self._process, None
        if process is None:
            return
        # The postmaster's children are of its session, each a process group of its own.
        for child in _session(process.pid):
            try:
                os.kill(child, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait(10)

    def restart(self) -> None:
        """Kill it and start it again on the same port and directory."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Freeze it with all its processes (SIGSTOP): its connections stay open, and it answers nobody."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is None:
            raise AssertionError("The server isn't running.")
        for child in _session(self._process.pid):
            os.kill(child, number)

    def _make(self, data: Path) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self.directory, SUPERUSER)
        command = [str(self._binaries / "initdb"), "-D", str(data), "-U", SUPERUSER, "--auth", "trust"]
        subprocess.run(
            [*_unprivileged(), *command, "--no-sync", "--encoding", "UTF8", "--locale", "C"],
            check=True,
            capture_output=True,
            cwd=self.directory,
            timeout=60,
        )


def _session(leader: int) -> list[int]:
    """The processes of a server: it, and those that it has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(entry.name) == leader or int(fields[1]) == leader:
            found.append(int(entry.name))
    return found
