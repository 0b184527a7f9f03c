"""A real RabbitMQ node for tests: on free ports, to kill, restart, pause and disturb."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from petiole.servers.rabbitmq import RabbitNode
from petiole.servers.redis import free_port
from tests.support.freezing import freeze, group, thaw
from tests.support.waiting import wait_until

START_WITHIN = 60.0
USUAL_WATERMARK = "0.4"


class RabbitServer:
    """One node with its name server, with ports and a directory that it keeps through every restart."""

    def __init__(self, scripts: Path, directory: Path, *, tls: bool = False) -> None:
        self.tls_port = free_port()
        self.certificate = directory / "certificate.pem"
        self._tls = tls
        configuration = self._make_certificate() if tls else ""
        self.node = RabbitNode(scripts, directory, free_port(), free_port(), free_port(), configuration)
        self._name_server: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.node.url

    def create(self, name: str) -> str:
        """Create a virtual host and return its URL."""
        self.node.control("add_vhost", name)
        self.node.control("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        return self.node.virtual_host(name)

    def tls_url(self, host: str, options: str) -> str:
        """Return its URL with TLS; `{certificate}` in the options is the path of its certificate."""
        return f"amqps://guest:guest@{host}:{self.tls_port}/?{options.format(certificate=self.certificate)}"

    def start(self) -> None:
        """Start it and wait until it accepts connections."""
        self.node.prepare()
        self._name_server = self._start(self.node.name_server_command)
        self._process = self._start(self.node.command)
        try:
            wait_until(self.answers, timeout=START_WITHIN, what=f"RabbitMQ answers on port {self.node.port}")
        except TimeoutError as error:
            self.kill()
            log = (self.node.directory / "server.log").read_text(errors="replace")
            raise AssertionError(f"{error} Its log ends: {log[-800:]}") from None

    def answers(self) -> bool:
        """Whether it accepts a connection, and listens for TLS if configured: RabbitMQ 4 does that a moment later."""
        if self._process is not None and self._process.poll() is not None:
            raise AssertionError(f"RabbitMQ ended with {self._process.returncode} at its start.")
        return self.node.answers() and (not self._tls or self._listens_for_tls())

    def _listens_for_tls(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.tls_port), timeout=1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """Kill it (SIGKILL), with its children."""
        for process in (self._process, self._name_server):
            if process is not None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(10)
        self._process = self._name_server = None

    def restart(self) -> None:
        """Kill it and start it again on the same ports and directory."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): its connections stay open, and it doesn't answer."""
        freeze(group(self._running()))

    def resume(self) -> None:
        """Resume it after `pause`."""
        thaw(group(self._running()))

    def raise_memory_alarm(self) -> None:
        """Raise its memory alarm: it stops reading from publishers."""
        self.node.control("set_vm_memory_high_watermark", "absolute", "1MB")
        wait_until(
            lambda: "resource_limit" in self.alarms() or "memory" in self.alarms(),
            timeout=10,
            what="the alarm is raised",
        )

    def clear_memory_alarm(self) -> None:
        self.node.control("set_vm_memory_high_watermark", USUAL_WATERMARK)
        wait_until(lambda: self.alarms().strip() in ("", "[]"), timeout=10, what="the alarm is over")

    def alarms(self) -> str:
        return self.node.control("eval", "rabbit_alarm:get_alarms().")

    def queues(self, virtual_host: str = "/") -> list[str]:
        return self._names("list_queues", "-p", virtual_host, "name")

    def delete_queue(self, name: str, virtual_host: str = "/") -> None:
        """Delete a queue, even if it is exclusive to another connection."""
        code = (
            f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{virtual_host}">>, queue, <<"{name}">>)), '
            'rabbit_amqqueue:delete(Q, false, false, <<"test">>).'
        )
        self.node.control("eval", code)

    def bindings(self, exchange: str) -> list[str]:
        """Return the routing keys that are bound to an exchange."""
        rows = self._names("list_bindings", "source_name", "routing_key")
        return [row.partition("\t")[2] for row in rows if row.partition("\t")[0] == exchange]

    def connections(self) -> int:
        return len(self._names("list_connections", "pid"))

    def close_connections(self) -> None:
        """Close every connection from the broker's side."""
        self.node.control("close_all_connections", "for a test")

    def _make_certificate(self) -> str:
        key = self.certificate.with_name("key.pem")
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
                *("-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(self.certificate)),
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )
        return (
            f"listeners.ssl.1 = 127.0.0.1:{self.tls_port}\nssl_options.cacertfile = {self.certificate}\n"
            f"ssl_options.certfile = {self.certificate}\nssl_options.keyfile = {key}\n"
            "ssl_options.verify = verify_none\nssl_options.fail_if_no_peer_cert = false\n"
        )

    def _names(self, *command: str) -> list[str]:
        return self.node.control(*command, "--no-table-headers").splitlines()

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self.node.directory / "server.log").open("ab") as output:
            return subprocess.Popen(
                command,
                env=self.node.with_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _running(self) -> int:
        if self._process is None:
            raise AssertionError("The server isn't running.")
        return self._process.pid


def new_directory() -> tempfile.TemporaryDirectory[str]:
    """Return a directory with a short path: Erlang's files have long names."""
    return tempfile.TemporaryDirectory(prefix="petiole-rabbitmq-", ignore_cleanup_errors=True)
