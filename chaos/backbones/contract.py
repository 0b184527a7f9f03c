"""The backbone of a fault run: journal, bus and Celery's broker, and how each of them is broken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from chaos.proxy import FaultProxy
from petiole.journal import Journal
from petiole.servers.processes import Processes

REDIS: Final = "redis"
RABBITMQ: Final = "rabbitmq"
SQLITE: Final = "sqlite"
WORKER: Final = "worker"
WEB: Final = "web"
BOTH: Final = (WORKER, WEB)
READY: Final = 60.0


@dataclass(frozen=True)
class Refusing:
    """One way in which a reachable journal refuses calls: of `WORKER`, `WEB` or `BOTH`, while `during` is entered."""

    how: str
    sides: tuple[str, ...]
    during: Callable[[], AbstractContextManager[None]]


class Backbone(Protocol):
    """Scenarios name the fault; a backbone does it.

    Each side, workers and web processes, reaches the bus through its own proxy. Celery's broker is reached directly:
    its own messages aren't under test here.
    """

    @property
    def name(self) -> str: ...

    @property
    def bus_is_apart(self) -> bool:
        """Whether the bus can die while the journal lives."""
        ...

    @property
    def web_bus(self) -> FaultProxy:
        """The proxy in front of the web side's bus; if one server is both, the proxy of its journal."""
        ...

    @property
    def proxies(self) -> tuple[FaultProxy, ...]:
        """Each proxy once."""
        ...

    @property
    def refusals(self) -> Sequence[Refusing]:
        """The ways in which the journal refuses calls for a while, without being down or losing anything."""
        ...

    @property
    def spoilings(self) -> Sequence[Callable[[str], None]]:
        """The ways to overwrite the data of a feed in the journal, so that it can't be read."""
        ...

    def start(self, processes: Processes, directory: Path) -> None:
        """Start everything, and wait until it answers.

        Raises:
            SetupError: something died, or wasn't ready in time.
        """
        ...

    def environment(self, side: str) -> dict[str, str]:
        """Return the environment variables for the processes of a side, `WORKER` or `WEB`."""
        ...

    def close(self) -> None:
        """Stop everything that was started, and remove its files."""
        ...

    def kill_bus(self) -> None:
        """End the bus's server at once (SIGKILL)."""
        ...

    def start_bus(self) -> None:
        """Start the bus's server again."""
        ...

    def close_subscribers(self) -> int:
        """Have the server close the connections on which web processes listen; return their number."""
        ...

    def empty_journal(self) -> int:
        """Delete all of Petiole's data in the journal; return the number of keys or rows."""
        ...

    def open_journal(self) -> Journal:
        """Return the journal in its present state, bypassing the proxies; it rings."""
        ...


class ServerBackbone(Backbone, Protocol):
    """A backbone whose journal is a server, which can be unreachable, frozen or dead. Each side has a proxy in front of it."""

    @property
    def worker_journal(self) -> FaultProxy: ...

    @property
    def web_journal(self) -> FaultProxy: ...

    def kill_journal(self) -> None:
        """End the journal's server at once (SIGKILL), with all its processes."""
        ...

    def stop_journal(self) -> None:
        """Stop the journal's server as an operator does; it closes its clients' connections cleanly."""
        ...

    def start_journal(self) -> None:
        """Start the journal's server again, with its data on disk."""
        ...

    def pause_journal(self) -> None:
        """Freeze the journal's server (SIGSTOP): its connections stay open."""
        ...

    def resume_journal(self) -> None: ...

    def begin_fall_backs(self) -> None:
        """Prepare for `take_copy`, before any task is started."""
        ...

    def take_copy(self) -> None:
        """Make a consistent copy of the journal, which is stale from then on."""
        ...

    def fall_back(self, pause: Callable[[], None]) -> None:
        """Replace the journal by the latest copy: for the workers first, and after a pause for the web side."""
        ...
