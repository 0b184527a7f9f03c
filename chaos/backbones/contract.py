"""What a fault run stands on: journal, bus and Celery's broker, and how each of them is broken."""

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
    """One way in which a journal that is there refuses: whom, `WORKER`, `WEB` or `BOTH`, while `during` is entered."""

    how: str
    sides: tuple[str, ...]
    during: Callable[[], AbstractContextManager[None]]


class Backbone(Protocol):
    """Scenarios name the fault; a backbone does it.

    Each side, workers and web processes, reaches the bus through a proxy of its own. Celery's broker is reached directly: its
    own messages aren't what is tried here.
    """

    @property
    def name(self) -> str: ...

    @property
    def bus_is_apart(self) -> bool:
        """Whether the bus can die while the journal lives."""
        ...

    @property
    def web_bus(self) -> FaultProxy:
        """The proxy before the web side's bus: where one server is both, that of its journal."""
        ...

    @property
    def proxies(self) -> tuple[FaultProxy, ...]:
        """Each proxy once."""
        ...

    @property
    def refusals(self) -> Sequence[Refusing]:
        """The ways in which the journal refuses for a while what it is asked, without being away or losing anything."""
        ...

    @property
    def spoilings(self) -> Sequence[Callable[[str], None]]:
        """The ways to write over what the journal has of a feed, so that it can't be read."""
        ...

    def start(self, processes: Processes, directory: Path) -> None:
        """Start everything, and wait until it answers.

        Raises:
            SetupError: something died, or wasn't ready in time.
        """
        ...

    def environment(self, side: str) -> dict[str, str]:
        """Return what the processes of a side, `WORKER` or `WEB`, need in their environment."""
        ...

    def close(self) -> None:
        """End what was started, and remove what it has written."""
        ...

    def kill_bus(self) -> None:
        """End the bus's server at once (SIGKILL)."""
        ...

    def start_bus(self) -> None:
        """Start the bus's server again."""
        ...

    def close_subscribers(self) -> int:
        """Have the server close the connections on which web processes listen; return how many there were."""
        ...

    def empty_journal(self) -> int:
        """Take out of the journal whatever Petiole has there; return how many keys or rows that were."""
        ...

    def open_journal(self) -> Journal:
        """Return the journal as it is just now, past the proxies; it rings."""
        ...


class ServerBackbone(Backbone, Protocol):
    """A backbone whose journal is a server, which can be out of reach, frozen or dead. Each side has a proxy before it."""

    @property
    def worker_journal(self) -> FaultProxy: ...

    @property
    def web_journal(self) -> FaultProxy: ...

    def kill_journal(self) -> None:
        """End the journal's server at once (SIGKILL), with all its processes."""
        ...

    def stop_journal(self) -> None:
        """End the journal's server as an operator does; it says good-bye to its clients."""
        ...

    def start_journal(self) -> None:
        """Start the journal's server again, with what it has on disk."""
        ...

    def pause_journal(self) -> None:
        """Freeze the journal's server (SIGSTOP): its connections stay open."""
        ...

    def resume_journal(self) -> None: ...

    def begin_fall_backs(self) -> None:
        """Prepare for `take_copy`, before any task is started."""
        ...

    def take_copy(self) -> None:
        """Make a copy of the journal, of one instant, which is stale from then on."""
        ...

    def fall_back(self, pause: Callable[[], None]) -> None:
        """Let the journal be the copy that was taken last: for the workers first, and after a pause for the web side."""
        ...
