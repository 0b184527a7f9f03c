"""A real PostgreSQL server for tests: on a free port, to kill, restart and pause."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

import psycopg

from petiole.servers.postgres import PostgresCluster
from petiole.servers.redis import free_port
from tests.support.freezing import family, freeze, thaw
from tests.support.waiting import wait_until

PASSWORD = "s3cret p@ss/word?#%"
START_WITHIN = 30.0
OPTIONS = {"fsync": "off", "shared_buffers": "32MB", "max_connections": "200"}


class PostgresServer:
    """One server on loopback, with a port and a directory that it keeps through every restart.

    It doesn't sync to disk, so it is for faults of its processes, not of its machine.
    """

    def __init__(self, binaries: Path) -> None:
        # Not below pytest's own directory, which only its owner may enter.
        self.directory = Path(tempfile.mkdtemp(prefix="petiole-postgres-"))
        self.directory.chmod(0o755)
        self.port = free_port()
        self._cluster = PostgresCluster(
            binaries, self.directory / "server", self.port, password=PASSWORD, options=OPTIONS
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._locales = self.directory / "locales"
        self._locales.mkdir(mode=0o755)

    def url(self, database: str = "postgres", *, user: str | None = None, password: str | None = None) -> str:
        """Return the URL of one of its databases."""
        return self._cluster.url(database, user=user, password=password)

    def connect(self, database: str = "postgres") -> psycopg.Connection:
        """Return a connection of the superuser, in autocommit."""
        return self._cluster.connect(database)

    def create(self, database: str) -> str:
        """Create a database and return its URL."""
        return self._cluster.create(database)

    def start(self) -> None:
        """Create its data if there is none, start it and wait until it answers."""
        self._cluster.prepare()
        with (self.directory / "server.log").open("ab") as output:
            self._process = subprocess.Popen(
                self._cluster.command,
                cwd=self._cluster.directory,
                env={**os.environ, "LOCPATH": str(self._locales)},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_until(self.answers, timeout=START_WITHIN, what=f"PostgreSQL answers on port {self.port}")
        except TimeoutError as error:
            log = (self.directory / "server.log").read_text(errors="replace")
            self.kill()
            raise AssertionError(f"{error} Its log ends: {log[-800:]}") from None

    def monetary_locale(self, name: str, *, symbol: str, separators: str, digits: int, before: bool) -> str:
        """Make a locale that knows of money alone, for `lc_monetary`, and return its name.

        `separators`: of the decimals, then of thousands. Made here, because a system has the locales of its users only.
        """
        made = self._locales / f"{name}.UTF-8"
        if not made.exists():
            source = self._locales / f"{name}.source"
            numbers = {"int_frac_digits": digits, "frac_digits": digits, "p_sign_posn": 1, "n_sign_posn": 1}
            for sign in "pn":
                numbers |= {f"{sign}_cs_precedes": int(before), f"{sign}_sep_by_space": int(not before)}
            lines = [
                "comment_char %\nescape_char /\nLC_MONETARY",
                f'int_curr_symbol "XXX "\ncurrency_symbol "<U{ord(symbol):04X}>"',
                f'mon_decimal_point "{separators[0]}"\nmon_thousands_sep "{separators[1]}"\nmon_grouping 3;3',
                'positive_sign ""\nnegative_sign "-"',
                *(f"{key} {number}" for key, number in numbers.items()),
                "END LC_MONETARY\n",
            ]
            source.write_text("\n".join(lines))
            # It complains of everything else that a locale has.
            command = ["localedef", "--force", "--no-archive", "-i", str(source), "-f", "UTF-8", str(made)]
            subprocess.run(command, check=False, timeout=60, capture_output=True)
        return made.name

    def answers(self) -> bool:
        """Whether it accepts connections; false while it recovers."""
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(f"PostgreSQL ended with {self._process.returncode} at its start.")
        return self._cluster.answers()

    def empty(self, database: str) -> None:
        """Create the database, or empty it, which is much faster than a new one."""
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
        """Return the state and the text of the queries of petiole's exports in a database."""
        with self.connect() as connection:
            return connection.execute(
                "SELECT state, query FROM pg_stat_activity WHERE datname = %s AND application_name = 'petiole exports'",
                (database,),
            ).fetchall()

    def pause(self) -> None:
        """Freeze it with all its processes (SIGSTOP): its connections stay open, and it doesn't answer."""
        freeze(family(self._running()))

    def resume(self) -> None:
        """Resume it after `pause`."""
        thaw(family(self._running()))

    def kill(self) -> None:
        """Kill it with all its processes, as when its machine dies."""
        if self._process is not None:
            # Stopped first, so that it starts no process meanwhile: a leftover process holds the shared memory, and no
            # other server could start.
            freeze([self._process.pid])
            processes = family(self._process.pid)
            # The postmaster's children belong to its session, each in its own process group.
            for pid in processes:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait(10)
            self._process = None
            wait_until(
                lambda: not any(map(_lives, processes)), timeout=10, what="all of PostgreSQL's processes have ended"
            )

    def restart(self) -> None:
        """Kill it and start it again on the same port and directory."""
        self.kill()
        self.start()

    def close(self) -> None:
        """Stop it and remove its files."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _running(self) -> int:
        if self._process is None:
            raise AssertionError("The server isn't running.")
        return self._process.pid


def _lives(process: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False
