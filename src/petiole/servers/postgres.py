"""Finds a PostgreSQL to run beside the demo or a test, with a data directory of its own."""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

import psycopg

from petiole.errors import SetupError

_DEBIAN: Final = Path("/usr/lib/postgresql")


def find_postgres() -> Path:
    """Return the directory with `initdb` and `postgres`: on the PATH, else Debian's of the newest version.

    Raises:
        SetupError: there is none.
    """
    found = shutil.which("postgres")
    if found and (Path(found).parent / "initdb").exists():
        return Path(found).parent
    installed = [path.parent for path in _DEBIAN.glob("*/bin/postgres")]
    newest = max(installed, key=lambda path: [int(part) for part in re.findall(r"\d+", path.parent.name)], default=None)
    if newest is None:
        raise SetupError(
            "There is no PostgreSQL server here. Install it (apt install postgresql, brew install postgresql), or use the "
            "backbone redis."
        )
    return newest


@dataclass(frozen=True, slots=True)
class PostgresCluster:
    """One server on loopback: its port, and a directory with all its data.

    PostgreSQL refuses to run as root; there it runs as `postgres`, who must be able to enter the directory. Without a
    password every local user may connect.
    """

    binaries: Path
    directory: Path
    port: int
    user: str = "petiole"
    password: str | None = field(default=None, repr=False)
    options: Mapping[str, str] = field(default_factory=dict)

    def url(self, database: str = "postgres", *, user: str | None = None, password: str | None = None) -> str:
        """Return the URL of one of its databases."""
        secret = password if password is not None else self.password
        login = quote(user or self.user, safe="") + (f":{quote(secret, safe='')}" if secret else "")
        return f"postgresql://{login}@127.0.0.1:{self.port}/{database}"

    @property
    def command(self) -> list[str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "port": str(self.port),
            **self.options,
        }
        parts = (part for name, value in options.items() for part in ("-c", f"{name}={value}"))
        return [*_unprivileged(), str(self.binaries / "postgres"), "-D", str(self._data), *parts]

    def prepare(self) -> None:
        """Make its data if there is none.

        Raises:
            SetupError: that can't be.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0:
                shutil.chown(self.directory, _servant().pw_name)
                self._check_way()
            if not (self._data / "PG_VERSION").exists():
                self._make()
        except OSError as error:
            raise SetupError(
                f"{self.directory} can't be made ({error.strerror}). Choose another with --directory."
            ) from error

    def forget_dead(self) -> None:
        """Remove a crashed server's pid file: if another process has that id, PostgreSQL takes it for the server.

        For a caller that knows that no server uses this data.
        """
        note = self._data / "postmaster.pid"
        with suppress(FileNotFoundError):
            pid = note.read_text().partition("\n")[0].strip()
            if not pid.isdecimal() or str(self._data) not in command_of(int(pid)):
                note.unlink()

    def answers(self) -> bool:
        """Say whether it takes connections; false while it starts or recovers."""
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Return a connection in autocommit."""
        return psycopg.connect(self.url(database), autocommit=True, connect_timeout=5)

    def create(self, database: str) -> str:
        """Make a database if there is none of that name, and return its URL."""
        with self.connect() as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone() is None:
                connection.execute(f'CREATE DATABASE "{database}"')
        return self.url(database)

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def _check_way(self) -> None:
        reached = subprocess.run([*_unprivileged(), "test", "-x", str(self.directory)], check=False, timeout=30)
        if reached.returncode != 0:
            raise SetupError(
                f"PostgreSQL doesn't run as root, and the user {_servant().pw_name} can't enter {self.directory}. Choose "
                "another directory with --directory, or start this as another user."
            )

    def _make(self) -> None:
        # Interrupted initdb data looks complete to PostgreSQL, so it is renamed at the end.
        for cut_short in self.directory.glob("data.draft-*"):
            shutil.rmtree(cut_short, ignore_errors=True)
        # A unique name: an initdb whose parent was killed goes on for a moment, and removes what it has made.
        draft = self.directory / f"data.draft-{secrets.token_hex(4)}"
        command = [
            *(*_unprivileged(), str(self.binaries / "initdb"), "--pgdata", str(draft), "--username", self.user),
            *("--encoding", "UTF8", "--locale", "C", "--no-sync"),
        ]
        said = self.directory / "password"
        if self.password is None:
            command += ["--auth", "trust"]
        else:
            said.touch(mode=0o600)
            said.write_text(self.password)
            if os.geteuid() == 0:
                shutil.chown(said, _servant().pw_name)
            command += ["--auth", "scram-sha-256", "--pwfile", str(said)]
        try:
            done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, timeout=120, check=False)
        finally:
            said.unlink(missing_ok=True)
        if done.returncode != 0:
            raise SetupError(f"initdb failed: {done.stderr.strip()}")
        draft.rename(self._data)


def command_of(pid: int) -> str:
    """Return the command of a process, empty if there is none."""
    listed = Path(f"/proc/{pid}/cmdline")
    if Path("/proc/self/cmdline").exists():
        with suppress(OSError):
            return listed.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return ""
    return subprocess.run(["ps", "-p", str(pid), "-o", "command="], capture_output=True, text=True, check=False).stdout


def _servant() -> pwd.struct_passwd:
    """Return the user that runs PostgreSQL where this runs as root."""
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _unprivileged() -> list[str]:
    """Return the prefix of PostgreSQL's commands, which drops root's privileges."""
    if os.geteuid() != 0:
        return []
    servant = _servant()
    return ["setpriv", f"--reuid={servant.pw_uid}", f"--regid={servant.pw_gid}", "--clear-groups"]
