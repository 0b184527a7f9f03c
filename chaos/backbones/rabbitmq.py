"""RabbitMQ for bus and broker, PostgreSQL for the journal; no Redis."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

import psycopg

from chaos.amqp_rings import AmqpRings
from chaos.backbones.contract import BOTH, RABBITMQ, READY, WEB, Refusing
from chaos.backbones.sql import ELSEWHERE, FEEDS, LIMIT, SPOILED, TABLES
from chaos.proxy import FaultProxy
from chaos.resources import family
from petiole.journal import Journal, open_journal
from petiole.journal.sql.server import upgrade
from petiole.servers.postgres import PostgresCluster, find_postgres
from petiole.servers.processes import Process, Processes
from petiole.servers.rabbitmq import RabbitNode, find_rabbitmq
from petiole.servers.redis import free_port
from petiole.settings import Settings
from tests.support.freezing import freeze, group, thaw
from tests.support.waiting import wait_until

DATABASE: Final = "journal"
RESULTS: Final = "results"
# Its processes are what is killed here, and not its machine: what it has written stays without being synced.
OPTIONS: Final = {"fsync": "off", "shared_buffers": "32MB", "max_connections": "200"}
USUAL_WATERMARK: Final = "0.4"
# Nobody is in the middle of anything then: who writes waits before it has looked at any row.
LOCKING: Final = f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE"
# The queues whose names the broker has made up are those of the bus; here as Erlang's terms.
_BUS_QUEUES: Final = (
    'Queues = [Q || Q <- rabbit_amqqueue:list(<<"/">>), case amqqueue:get_name(Q) of '
    '{resource, _, queue, <<"amq.gen-", _/binary>>} -> is_pid(amqqueue:get_exclusive_owner(Q)); _ -> false end], '
)


class RabbitBackbone:
    """`ServerBackbone` whose bus and journal are of different servers, each behind proxies of its own.

    Each side connects to the journal as a user of its own, who may read and write the tables and no more.
    """

    name: Final = RABBITMQ
    bus_is_apart: Final = True

    def __init__(self) -> None:
        # Not below the run's own directory, which only its owner may enter; and Erlang's own files have long names.
        self._home = Path(tempfile.mkdtemp(prefix="petiole-chaos-"))
        self._home.chmod(0o755)
        self.node = RabbitNode(find_rabbitmq(), self._home / "rabbitmq", free_port(), free_port(), free_port())
        self._cluster = PostgresCluster(find_postgres(), self._home / "postgres", free_port(), options=OPTIONS)
        self.worker_journal, self.web_journal = FaultProxy(self._cluster.port), FaultProxy(self._cluster.port)
        self.worker_bus, self.web_bus = (FaultProxy(self.node.port, rings=AmqpRings) for _ in range(2))
        self.proxies = (self.worker_journal, self.web_journal, self.worker_bus, self.web_bus)
        self._database: Process | None = None
        self._broker: Process | None = None

    def start(self, processes: Processes, directory: Path) -> None:  # noqa: ARG002 (it has one of its own)
        self._processes = processes
        with ThreadPoolExecutor() as pool:
            for started in [pool.submit(self._start_database), pool.submit(self._start_first_broker)]:
                started.result()

    def environment(self, side: str) -> dict[str, str]:
        journal, bus = (self.web_journal, self.web_bus) if side == WEB else (self.worker_journal, self.worker_bus)
        return {
            "CELERY_BROKER_URL": self.node.url,
            "CELERY_RESULT_BACKEND": f"db+{self._cluster.url(RESULTS).replace('://', '+psycopg://', 1)}",
            "PETIOLE_JOURNAL_URL": f"postgresql://{_user(side)}@127.0.0.1:{journal.port}/{DATABASE}",
            "PETIOLE_BUS_URL": f"amqp://guest:guest@127.0.0.1:{bus.port}/",
        }

    def close(self) -> None:
        for end, process in ((self.kill_journal, self._database), (self.kill_bus, self._broker)):
            if process is not None:
                end()
        for proxy in self.proxies:
            proxy.close()
        shutil.rmtree(self._home, ignore_errors=True)

    def start_journal(self) -> None:
        self._database = self._processes.start("postgres", self._cluster.command, is_base=True)
        self._processes.wait_ready(self._database, timeout=READY, condition=self._cluster.answers)

    def kill_journal(self) -> None:
        database, self._database = _running(self._database), None
        self._processes.forget(database)
        # Its processes are each a group of its own.
        for pid in family(database.popen.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        database.popen.wait(10)

    def stop_journal(self) -> None:
        database, self._database = _running(self._database), None
        self._processes.forget(database)
        # PostgreSQL's fast shutdown: who is connected is told, and nobody is waited for.
        database.popen.send_signal(signal.SIGINT)
        database.popen.wait(READY)

    def pause_journal(self) -> None:
        freeze(family(_running(self._database).popen.pid))

    def resume_journal(self) -> None:
        thaw(family(_running(self._database).popen.pid))

    def start_bus(self) -> None:
        node = self.node
        self._broker = self._processes.start("rabbitmq", node.command, environment=node.environment, is_base=True)
        self._processes.wait_ready(self._broker, timeout=READY, condition=node.answers)

    def kill_bus(self) -> None:
        broker, self._broker = _running(self._broker), None
        self._processes.kill(broker)

    def pause_bus(self) -> None:
        """Freeze the broker (SIGSTOP): its connections stay open, and it answers nobody."""
        freeze(group(_running(self._broker).popen.pid))

    def resume_bus(self) -> None:
        thaw(group(_running(self._broker).popen.pid))

    def raise_memory_alarm(self) -> None:
        """Let the broker be out of memory: it stops reading from everybody who publishes."""
        self.node.control("set_vm_memory_high_watermark", "absolute", "1MB")
        wait_until(lambda: "memory" in self._alarms(), what="the memory alarm is raised", timeout=10)

    def clear_memory_alarm(self) -> None:
        self.node.control("set_vm_memory_high_watermark", USUAL_WATERMARK)
        wait_until(lambda: self._alarms() in ("", "[]"), what="the memory alarm is over", timeout=10)

    def close_subscribers(self) -> int:
        closing = '[rabbit_networking:close_connection(amqqueue:get_exclusive_owner(Q), "chaos") || Q <- Queues]'
        return int(self.node.control("eval", f"{_BUS_QUEUES} {closing}, length(Queues)."))

    def delete_bus_queues(self) -> int:
        """Delete the queues of all web processes, and leave their connections; return how many there were."""
        deleting = '[rabbit_amqqueue:delete(Q, false, false, <<"chaos">>) || Q <- Queues]'
        return int(self.node.control("eval", f"{_BUS_QUEUES} {deleting}, length(Queues)."))

    def empty_journal(self) -> int:
        with self._connect() as connection, connection.transaction():
            connection.execute(LOCKING)
            return sum(connection.execute(f"DELETE FROM {table}").rowcount for table in TABLES)

    def open_journal(self) -> Journal:
        return open_journal(Settings(journal_url=self._cluster.url(DATABASE), bus_url=self.node.url))

    @property
    def refusals(self) -> list[Refusing]:
        ways = {
            "rights revoked": self._without_rights,
            "read-only transactions": self._read_only,
            "too many connections": self._without_connections,
        }
        by_side = [Refusing(how, (side,), partial(way, _user(side))) for how, way in ways.items() for side in BOTH]
        return [
            *by_side,
            Refusing("a table renamed", BOTH, self._renamed),
            Refusing(LIMIT.split(".")[0], BOTH, self._limited),
            Refusing("the tables locked by somebody else", BOTH, self._locked),
        ]

    @property
    def spoilings(self) -> list[Callable[[str], None]]:
        return [partial(self._spoil, column, value) for column, value in SPOILED]

    def begin_fall_backs(self) -> None:
        """Do nothing: the copy is kept in the same database."""

    def take_copy(self) -> None:
        with self._connect() as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute("DROP SCHEMA IF EXISTS copy CASCADE; CREATE SCHEMA copy")
            for table in TABLES:
                connection.execute(f"CREATE TABLE copy.{table} AS TABLE public.{table}")

    def fall_back(self, pause: Callable[[], None]) -> None:
        # Away from the web side until the writers have made the numbers up again.
        self.web_journal.faults.refuse = True
        self.web_journal.reset_all()
        with self._connect() as connection, connection.transaction():
            connection.execute(LOCKING)
            for table in TABLES:
                # Not TRUNCATE: to a reader of an earlier instant everything would be gone.
                connection.execute(f"DELETE FROM public.{table}")
                connection.execute(f"INSERT INTO public.{table} SELECT * FROM copy.{table}")
        pause()
        self.web_journal.faults.refuse = False
        pause()

    def _connect(self) -> psycopg.Connection:
        return self._cluster.connect(DATABASE)

    @contextmanager
    def _without_rights(self, user: str) -> Iterator[None]:
        yield from self._changed(_rights("REVOKE", "FROM", user), _rights("GRANT", "TO", user))

    @contextmanager
    def _read_only(self, user: str) -> Iterator[None]:
        option = "default_transaction_read_only"
        # It holds for new connections; those that were made meanwhile keep it.
        yield from self._changed(
            f"ALTER ROLE {user} SET {option} = on", f"ALTER ROLE {user} RESET {option}", closing=user
        )

    @contextmanager
    def _without_connections(self, user: str) -> Iterator[None]:
        limit = f"ALTER ROLE {user} CONNECTION LIMIT"
        yield from self._changed(f"{limit} 0", f"{limit} -1", closing=user)

    @contextmanager
    def _renamed(self) -> Iterator[None]:
        yield from self._changed(
            f"ALTER TABLE {FEEDS} RENAME TO {ELSEWHERE}", f"ALTER TABLE {ELSEWHERE} RENAME TO {FEEDS}"
        )

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """Refuse every write with words of somebody's own."""
        begin = (
            f"CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '{LIMIT}'; END $$;"
        )
        for table in TABLES:
            begin += (
                f"CREATE TRIGGER refusing BEFORE INSERT OR UPDATE OR DELETE ON {table} "
                "FOR EACH STATEMENT EXECUTE FUNCTION refuse();"
            )
        yield from self._changed(f"{LOCKING}; {begin}", f"{LOCKING}; DROP FUNCTION refuse CASCADE")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._connect() as connection, connection.transaction():
            connection.execute(LOCKING)
            yield

    def _changed(self, begin: str, end: str, *, closing: str = "") -> Iterator[None]:
        """Let it be otherwise for a while; `closing`: the user whose connections have to be new ones."""
        with self._connect() as connection:
            connection.execute(begin)
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (closing,))
            try:
                yield
            finally:
                connection.execute(end)

    def _spoil(self, column: str, value: str, feed: str) -> None:
        with self._connect() as connection:
            connection.execute(f"UPDATE {FEEDS} SET {column} = %s WHERE name = %s", (value, feed))

    def _alarms(self) -> str:
        return self.node.control("eval", "rabbit_alarm:get_alarms().").strip()

    def _start_database(self) -> None:
        self._cluster.prepare()
        self.start_journal()
        self._cluster.create(RESULTS)
        upgrade(self._cluster.create(DATABASE))
        with self._connect() as connection:
            for side in BOTH:
                connection.execute(f"CREATE ROLE {_user(side)} LOGIN; {_rights('GRANT', 'TO', _user(side))}")

    def _start_first_broker(self) -> None:
        self.node.prepare()
        environment = self.node.environment
        self._processes.start("epmd", self.node.name_server_command, environment=environment, is_base=True)
        self.start_bus()


def _running(process: Process | None) -> Process:
    if process is None:
        raise RuntimeError("That server isn't running.")
    return process


def _user(side: str) -> str:
    return f"petiole_{side}"


def _rights(verb: str, preposition: str, user: str) -> str:
    """Return what gives a user what Petiole needs once its tables are there, or takes it away."""
    return (
        f"{verb} SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public {preposition} {user};"
        f"{verb} USAGE ON ALL SEQUENCES IN SCHEMA public {preposition} {user}"
    )
