"""A redis-server for tests, chaos and benchmarks, with faults on request."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import redis

from petiole.servers.redis import free_port, redis_command
from tests.support.freezing import freeze, thaw
from tests.support.waiting import wait_until

START_WITHIN = 10.0


class RedisServer:
    """One redis-server process on loopback, with a port and a directory that it keeps through every restart.

    With `append_only` it keeps every acknowledged write, even after a kill.
    """

    def __init__(
        self,
        binary: str,
        directory: Path,
        *,
        append_only: bool = True,
        port: int | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.binary = binary
        self.directory = directory
        self.append_only = append_only
        self.port = port or free_port()
        self.options = tuple(options)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.database(0)

    def database(self, number: int) -> str:
        """Return the URL of one of its logical databases."""
        return f"redis://127.0.0.1:{self.port}/{number}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = redis_command(self.binary, port=self.port, directory=self.directory)
        command += ["--appendonly", "yes" if self.append_only else "no"]
        # With a sync every second, a server may buffer answered writes while it syncs, and a kill would lose them.
        command += ["--appendfsync", "always", *self.options]
        with (self.directory / "server.log").open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            wait_until(self.answers, timeout=START_WITHIN, what=f"{self.binary} answers PING on port {self.port}")
        except TimeoutError as error:
            self.kill()
            log = (self.directory / "server.log").read_text(errors="replace")
            raise AssertionError(f"{error} Its log ends: {log[-500:]}") from None

    def answers(self) -> bool:
        """Whether it, and no other server at its port, answers PING; false while it loads its data."""
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(f"{self.binary} ended with {self._process.returncode} at its start.")
        try:
            with self.client() as client:
                here = self._process is None or client.info("server")["process_id"] == self._process.pid
                return here and bool(client.ping())
        except redis.RedisError:
            return False

    def client(self, database: int = 0) -> redis.Redis:
        """Return a client that waits a second at most."""
        return redis.Redis(port=self.port, db=database, socket_timeout=1.0, socket_connect_timeout=1.0)

    def stop(self) -> None:
        """Shut it down cleanly: its data is on disk afterwards."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill it and start it again on the same port and directory."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): its connections stay open, and it doesn't answer."""
        freeze([self._running()])

    def resume(self) -> None:
        """Resume it after `pause`."""
        thaw([self._running()])

    def resume_or_start(self) -> None:
        """Make sure that it is up, whatever state it is in."""
        if self._process is None:
            self.start()
        else:
            self.resume()

    def copy_data(self, to: Path) -> None:
        """Copy its data on disk, as a lagging replica would have it."""
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.directory, to)

    def put_data_back(self, copy: Path) -> None:
        """Replace its data on disk while it is stopped."""
        if self._process is not None:
            raise AssertionError("Stop the server before its data is replaced.")
        shutil.rmtree(self.directory)
        shutil.copytree(copy, self.directory)

    def _running(self) -> int:
        if self._process is None:
            raise AssertionError("The server isn't running.")
        return self._process.pid

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            os.kill(process.pid, number)
            os.kill(process.pid, signal.SIGCONT)  # a paused one wouldn't react
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)
