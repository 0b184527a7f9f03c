"""A real PostgreSQL server for tests."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import psycopg

from petiole.demo.redis_server import free_port
from tests.services import wait_until

USER = "petiole"
PASSWORD = "s3cret p@ss/word?#%"
START_WITHIN = 30.0


def postgres_binaries() -> Path | None:
    """Return the directory with `initdb` and `postgres`: on the PATH, else Debian's of the newest version."""
    found = shutil.which("postgres")
    if found and (Path(found).parent / "initdb").exists():
        return Path(found).parent
    installed = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    return max(installed, key=lambda path: [int(part) for part in re.findall(r"\d+", path.parent.name)], default=None)


class PostgresServer:
    """One server on loopback, with a port and a data directory of its own, a user and a password.

    PostgreSQL refuses to run as root, so there it runs as `postgres` or `nobody`.
    """

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        # Not below pytest's own directory, which only its owner may enter.
        self.directory = Path(tempfile.mkdtemp(prefix="petiole-postgres-"))
        self._as: dict[str, object] = {}
        if os.geteuid() == 0:
            names = {entry.pw_name: entry for entry in pwd.getpwall()}
            entry = names.get("postgres") or names["nobody"]
            os.chown(self.directory, entry.pw_uid, entry.pw_gid)
            self._as = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        passwords = self.directory / "password"
        passwords.write_text(PASSWORD)
        passwords.chmod(0o644)
        self._run(
            *("initdb", "--pgdata", str(self.directory / "data"), "--username", USER, "--pwfile", str(passwords)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync"),
        )
        passwords.unlink()

    def url(self, database: str = "postgres", *, user: str = USER, password: str = PASSWORD) -> str:
        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Return a connection in autocommit."""
        return psycopg.connect(self.url(database), autocommit=True, connect_timeout=5)

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "port": str(self.port),
            "fsync": "off",
            "full_page_writes": "off",
            "shared_buffers": "32MB",
            "max_connections": "30",
        }
        command = [str(self._binaries / "postgres"), "-D", str(self.directory / "data")]
        command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with (self.directory / "server.log").open("ab") as output:
            self._process = subprocess.Popen(
                command, cwd=self.directory, stdout=output, stderr=subprocess.STDOUT, **self._as
            )
        try:
            wait_until(self._answers, START_WITHIN, f"PostgreSQL answers on port {self.port}")
        except AssertionError as error:
            log = (self.directory / "server.log").read_text(errors="replace")
            self.stop()
            raise AssertionError(f"{error} Its log ends: {log[-500:]}") from None

    def empty(self, database: str) -> None:
        """Make the database, or take everything out of it, which is much quicker than a new one."""
        with self.connect() as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone() is None:
                connection.execute(f"CREATE DATABASE {database}")
                return
            connection.execute(f"ALTER DATABASE {database} RESET ALL")
        with self.connect(database) as connection:
            schemas = "SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname !~ '^pg_|^information_schema$'"
            for (schema,) in connection.execute(schemas).fetchall():
                connection.execute(f"DROP SCHEMA {schema} CASCADE")
            connection.execute("CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO PUBLIC")

    def queries(self, database: str) -> list[tuple[str, str]]:
        """Return the state and the text of what petiole's exports do in a database just now."""
        with self.connect() as connection:
            return connection.execute(
                "SELECT state, query FROM pg_stat_activity WHERE datname = %s AND application_name = 'petiole exports'",
                (database,),
            ).fetchall()

    def freeze(self) -> list[int]:
        """Freeze the server with the processes of its connections (SIGSTOP), and return their ids for `thaw`."""
        assert self._process is not None
        with self.connect() as connection:
            found = connection.execute("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'")
            pids = [self._process.pid, *(pid for (pid,) in found if pid != connection.info.backend_pid)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        return pids

    def thaw(self, pids: list[int]) -> None:
        """Let them go on."""
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it at once; its connections are cut off."""
        process, self._process = self._process, None
        if process is not None:
            if process.poll() is None:
                process.send_signal(signal.SIGQUIT)
                process.send_signal(signal.SIGCONT)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)

    def close(self) -> None:
        """End it and remove what it has written."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(f"PostgreSQL ended with {self._process.returncode} at its start.")
        try:
            self.connect().close()
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._binaries / program), *arguments],
            cwd=self.directory,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
            **self._as,
        )
