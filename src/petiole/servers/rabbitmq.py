"""Finds a RabbitMQ to run beside the demo or a test, as a process of its own that leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import amqp

from petiole.errors import SetupError

# Debian's command on the PATH switches to the user rabbitmq; these are RabbitMQ's own scripts.
_OWN_SCRIPTS: Final = Path("/usr/lib/rabbitmq/bin")
_OFF_THE_PATH: Final = ("/usr/local/sbin", "/opt/homebrew/sbin", "/usr/sbin")
# Erlang's schedulers busy-wait before they sleep, which takes CPU from other processes.
_SLEEPY: Final = "+sbwt none +sbwtdcpu none +sbwtdio none"
_LOOPBACK: Final = "-kernel inet_dist_use_interface {127,0,0,1}"


def find_rabbitmq() -> Path:
    """Return the directory of RabbitMQ's scripts: Debian's, else where `rabbitmq-server` is on the PATH.

    Raises:
        SetupError: there is none, or Erlang's name server isn't there.
    """
    path = os.pathsep.join((*os.get_exec_path(), *_OFF_THE_PATH))
    found = _OWN_SCRIPTS / "rabbitmq-server"
    server = str(found) if found.exists() else shutil.which("rabbitmq-server", path=path)
    if server is None or shutil.which("epmd") is None:
        missing = "RabbitMQ" if server is None else "epmd, which belongs to Erlang"
        raise SetupError(
            f"There is no {missing} here. Install it (apt install rabbitmq-server, brew install rabbitmq), or use the "
            "backbone redis."
        )
    return Path(server).parent


@dataclass(frozen=True, slots=True)
class RabbitNode:
    """One node on loopback: its ports, and a directory with all its data.

    Two processes make it: `name_server_command` first, because a node that finds no Erlang name server starts one that
    outlives it; then `command`. Both with `environment`.
    """

    scripts: Path
    directory: Path
    port: int
    name_server_port: int
    distribution_port: int
    # Lines of its rabbitmq.conf.
    configuration: str = ""
    # Its data is kept under it.
    name: str = "petiole"

    @property
    def url(self) -> str:
        return self.virtual_host("/")

    def virtual_host(self, name: str, *, user: str = "guest", password: str = "guest") -> str:
        """Return the URL of one of its virtual hosts; `/` and the user exist from the start."""
        return f"amqp://{user}:{password}@127.0.0.1:{self.port}/{'' if name == '/' else name}"

    @property
    def name_server_command(self) -> list[str]:
        return ["epmd", "-port", str(self.name_server_port), "-address", "127.0.0.1"]

    @property
    def command(self) -> list[str]:
        return [str(self.scripts / "rabbitmq-server")]

    @property
    def environment(self) -> dict[str, str]:
        home = self.directory
        return {
            # Erlang keeps the cookie there that a node shares with its `rabbitmqctl`.
            "HOME": str(home),
            "ERL_EPMD_PORT": str(self.name_server_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"{self.name}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_MNESIA_BASE": str(home / "data"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(home / "config"),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_PID_FILE": str(home / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"{_SLEEPY} {_LOOPBACK}",
            # For a node that listens for its like on loopback only, `localhost` is a name like others.
            "RABBITMQ_CTL_ERL_ARGS": _LOOPBACK,
        }

    def prepare(self) -> None:
        """Make its directory and configuration.

        Raises:
            SetupError: that can't be.
        """
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            (self.directory / "plugins").write_text("[].\n")
            (self.directory / "rabbitmq.conf").write_text(f"log.console.level = warning\n{self.configuration}")
        except OSError as error:
            raise SetupError(
                f"{self.directory} can't be made ({error.strerror}). Choose another with --directory."
            ) from error

    def answers(self) -> bool:
        """Say whether it accepts a connection."""
        connection = amqp.Connection(f"127.0.0.1:{self.port}", connect_timeout=2)
        try:
            connection.connect()
            connection.close()
        except (OSError, amqp.AMQPError):
            return False
        finally:
            connection.collect()
        return True

    def control(self, *arguments: str, timeout: float = 60.0) -> str:
        """Run `rabbitmqctl` against it and return what that says.

        Raises:
            SetupError: it failed.
        """
        done = subprocess.run(
            [str(self.scripts / "rabbitmqctl"), "--quiet", *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode != 0:
            raise SetupError(f"rabbitmqctl {' '.join(arguments)} failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def with_environment(self) -> Mapping[str, str]:
        return {**os.environ, **self.environment}
