"""RabbitMQ for bus and broker, PostgreSQL for the journal; no Redis."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

import psycopg

from chaos.amqp_rings import AmqpRings
from chaos.backbones.contract import RABBITMQ, READY
from chaos.proxy import FaultProxy
from chaos.resources import family
from chaos.waiting import wait_until
from petiole.demo.postgres_server import PostgresCluster, find_postgres
from petiole.demo.processes import Process, Processes
from petiole.demo.rabbitmq_server import RabbitNode, find_rabbitmq
from petiole.demo.redis_server import free_port
from petiole.journal import Journal, open_journal
from petiole.journal.sql import schema
from petiole.journal.sql.server import upgrade
from petiole.settings import Settings

DATABASE: Final = "journal"
# Its processes are what is killed here, and not its machine: what it has written stays without being synced.
OPTIONS: Final = {"fsync": "off", "shared_buffers": "32MB", "max_connections": "200"}
USUAL_WATERMARK: Final = "0.4"
# The feeds first, as every verb of the journal has it: so nobody waits in a circle.
TABLES: Final = tuple(table.name for table in (schema.feeds, schema.facts, schema.seen, schema.unread, schema.notes))
# The queues whose names the broker has made up are those of the bus; here as Erlang's terms.
_BUS_QUEUES: Final = (
    'Queues = [Q || Q <- rabbit_amqqueue:list(<<"/">>), case amqqueue:get_name(Q) of '
    '{resource, _, queue, <<"amq.gen-", _/binary>>} -> is_pid(amqqueue:get_exclusive_owner(Q)); _ -> false end], '
)


class RabbitBackbone:
    """`Backbone` whose bus and journal are of different servers, each behind proxies of its own."""

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
        journal, bus = (self.web_journal, self.web_bus) if side == "web" else (self.worker_journal, self.worker_bus)
        return {
            "CELERY_BROKER_URL": self.node.url,
            "PETIOLE_JOURNAL_URL": f"postgresql://{self._cluster.user}@127.0.0.1:{journal.port}/{DATABASE}",
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
        _signal(database, signal.SIGKILL)
        database.popen.wait(10)

    def stop_journal(self) -> None:
        database, self._database = _running(self._database), None
        self._processes.forget(database)
        # PostgreSQL's fast shutdown: who is connected is told, and nobody is waited for.
        database.popen.send_signal(signal.SIGINT)
        database.popen.wait(READY)

    def pause_journal(self) -> None:
        _signal(_running(self._database), signal.SIGSTOP)

    def resume_journal(self) -> None:
        _signal(_running(self._database), signal.SIGCONT)

    def start_bus(self) -> None:
        node = self.node
        self._broker = self._processes.start("rabbitmq", node.command, environment=node.environment, is_base=True)
        self._processes.wait_ready(self._broker, timeout=READY, condition=node.answers)

    def kill_bus(self) -> None:
        broker, self._broker = _running(self._broker), None
        self._processes.kill(broker)

    def pause_bus(self) -> None:
        """Freeze the broker (SIGSTOP): its connections stay open, and it answers nobody."""
        os.killpg(_running(self._broker).popen.pid, signal.SIGSTOP)

    def resume_bus(self) -> None:
        os.killpg(_running(self._broker).popen.pid, signal.SIGCONT)

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
            _lock(connection)
            return sum(connection.execute(f"DELETE FROM {table}").rowcount for table in TABLES)

    def open_journal(self) -> Journal:
        return open_journal(Settings(journal_url=self._cluster.url(DATABASE), bus_url=self.node.url))

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
            _lock(connection)
            for table in TABLES:
                # Not TRUNCATE: to a reader of an earlier instant everything would be gone.
                connection.execute(f"DELETE FROM public.{table}")
                connection.execute(f"INSERT INTO public.{table} SELECT * FROM copy.{table}")
        pause()
        self.web_journal.faults.refuse = False
        pause()

    def _connect(self) -> psycopg.Connection:
        return self._cluster.connect(DATABASE)

    def _alarms(self) -> str:
        return self.node.control("eval", "rabbit_alarm:get_alarms().").strip()

    def _start_database(self) -> None:
        self._cluster.prepare()
        self.start_journal()
        upgrade(self._cluster.create(DATABASE))

    def _start_first_broker(self) -> None:
        self.node.prepare()
        environment = self.node.environment
        self._processes.start("epmd", self.node.name_server_command, environment=environment, is_base=True)
        self.start_bus()


def _running(process: Process | None) -> Process:
    if process is None:
        raise RuntimeError("That server isn't running.")
    return process


def _signal(database: Process, number: int) -> None:
    for process in family(database.popen.pid):
        with suppress(ProcessLookupError):
            os.kill(process, number)


def _lock(connection: psycopg.Connection) -> None:
    """Let nobody be in the middle of anything: who writes waits before it has looked at any row."""
    connection.execute(f"LOCK TABLE {', '.join(TABLES)} IN ACCESS EXCLUSIVE MODE")
