"""A task that a command follows to its end: over a server's socket, or in the journal itself."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import click

from petiole.cli.exits import CannotWatch, Interrupted
from petiole.cli.journal import journal_at, journal_url_option
from petiole.cli.target import target_of
from petiole.errors import PetioleError, Unavailable
from petiole.extras import MissingExtra, require
from petiole.protocol.events import Document
from petiole.protocol.reader import Read, Reader, Reset, Show
from petiole.protocol.states import is_terminal

if TYPE_CHECKING:
    from petiole.client import TaskClient, TaskView
    from petiole.journal.contract import Feeds

PAGE: Final = 500
# How often the journal is read, and how often a screen is drawn, in seconds.
READ_EVERY: Final = 0.25
DRAWN_EVERY: Final = 0.1

Shown: TypeAlias = Show | Reset


class Following(Protocol):
    """A task that is followed."""

    @property
    def document(self) -> Document: ...

    @property
    def texts(self) -> dict[str, str]: ...

    @property
    def text_run(self) -> int:
        """Which run has written the texts."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why nothing comes at present, if that is known."""
        ...

    def steps(self, *, until_end: bool = True) -> Iterator[list[Shown]]:
        """Yield what has come since, several times a second, until the task has ended; else until all is there that is kept."""
        ...


class FollowedInJournal:
    """Reads the journal again and again, by the reader's rule."""

    def __init__(self, journal: Feeds, feed: str) -> None:
        self._journal = journal
        self._reader = Reader(feed)
        self._sleep: Callable[[float], None] = time.sleep
        self.trouble: str | None = None

    @property
    def document(self) -> Document:
        return self._reader.document

    @property
    def texts(self) -> dict[str, str]:
        return self._reader.texts

    @property
    def text_run(self) -> int:
        return self._reader.cursor.texts.run if self._reader.cursor is not None else 0

    def steps(self, *, until_end: bool = True) -> Iterator[list[Shown]]:
        reader = self._reader
        reader.start()
        while True:
            try:
                reading = self._journal.read(reader.feed, reader.cursor, limit=PAGE)
            except Unavailable as error:
                if reader.cursor is None:
                    raise
                # It has been there: it comes back.
                self.trouble = str(error)
                yield []
                self._sleep(READ_EVERY)
                continue
            self.trouble = None
            if reading is None:
                raise CannotWatch(
                    f"The journal has no task {reader.feed}. Look at the id, and at PETIOLE_KEY_PREFIX."
                    if reader.cursor is None
                    else f"The journal has no task {reader.feed} any more: somebody has deleted it."
                )
            actions = reader.answer(reading)
            yield [action for action in actions if isinstance(action, Show | Reset)]
            if any(isinstance(action, Read) for action in actions):
                continue
            if is_terminal(reader.document.get("state")) or not until_end:
                return
            self._sleep(READ_EVERY)
            reader.start()


class FollowedOverSocket:
    """Follows a task as a page does."""

    def __init__(self, client: TaskClient, feed: str) -> None:
        self._client = client
        self._feed = feed
        self._came: queue.SimpleQueue[Shown] = queue.SimpleQueue()
        self._view: TaskView | None = None

    @property
    def document(self) -> Document:
        return self._view.document if self._view is not None else {}

    @property
    def texts(self) -> dict[str, str]:
        return self._view.texts if self._view is not None else {}

    @property
    def text_run(self) -> int:
        cursor = self._view.cursor if self._view is not None else None
        return cursor.texts.run if cursor is not None else 0

    @property
    def trouble(self) -> str | None:
        return None if self._client.connected else "The connection is lost; trying again."

    def steps(self, *, until_end: bool = True) -> Iterator[list[Shown]]:
        view = self._view = self._client.watch(
            self._feed,
            on_event=lambda event: self._came.put(Show(event)),
            on_reset=lambda at: self._came.put(Reset(at)),
        )
        while True:
            has_all = view.has_ended or (not until_end and bool(view.document) and not view.reading)
            came = list(self._drain())
            yield came
            if view.refused is not None:
                raise CannotWatch(str(view.refused))
            if has_all and not came:
                return

    def _drain(self) -> Iterator[Shown]:
        """Yield what has come; waits a moment for the first."""
        timeout = DRAWN_EVERY
        while True:
            try:
                yield self._came.get(timeout=timeout)
            except queue.Empty:
                return
            timeout = 0.0


Command: TypeAlias = Callable[..., None]


def following_options(command: Command) -> Command:
    """Add the argument and the options that say which task is followed, and where."""
    for option in reversed(
        (
            click.argument("task", metavar="TASK"),
            click.option("--token", help="A token of the web application, for the address of a task."),
            click.option(
                "-H",
                "--header",
                "headers",
                multiple=True,
                metavar="'NAME: VALUE'",
                help="Sent along, such as a cookie.",
            ),
            click.option("--socketio-path", default="/socket.io", show_default=True, help="Socket.IO's path there."),
            click.option("--polling", is_flag=True, help="Without WebSockets, where a proxy blocks them."),
            journal_url_option,
        )
    ):
        command = option(command)
    return command


@contextmanager
def followed(
    task: str,
    *,
    token: str | None,
    headers: tuple[str, ...],
    socketio_path: str,
    polling: bool,
    journal_url: str | None,
) -> Iterator[Following]:
    """Follow a task at its address, or by its id in the journal.

    Raises:
        CannotWatch: there is none, it isn't ours, or nobody answers.
        click.BadParameter: that is no task.
        Interrupted: Ctrl-C was pressed.
    """
    try:
        target = target_of(task)
        if target.server is None:
            with journal_at(journal_url) as journal:
                yield FollowedInJournal(journal, target.feed)
            return
        require("Following a task at its address", "client", "requests", "socketio")
        from petiole.cli.http import fetch, session_of
        from petiole.client import TaskClient

        # Its answer says what is wrong in words; a refused connection doesn't.
        fetch(session_of(headers, token), target.url)
        client = TaskClient(
            target.server,
            session=session_of(headers),
            token=token,
            path=socketio_path,
            prefix=target.prefix,
            transports=("polling",) if polling else ("websocket",),
        )
        try:
            yield FollowedOverSocket(client, target.feed)
        finally:
            client.close()
    except MissingExtra as error:
        raise click.ClickException(str(error)) from error
    except PetioleError as error:
        raise CannotWatch(str(error)) from error
    except click.ClickException as error:
        if type(error) is click.ClickException:
            # The journal's.
            raise CannotWatch(error.message) from error
        raise
    except KeyboardInterrupt:
        click.echo("\nStopped watching. The task goes on.", err=True)
        raise Interrupted() from None
