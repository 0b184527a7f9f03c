"""The ambient `progress`: what a task says about itself, from anywhere below its call.

Inside a tracked task it stands for the run that is current in this context, as `flask.current_app` does for an application.
Outside one (a test that calls the task as a function, a script) every call does nothing; `track` then draws a bar on a terminal
if rich is installed.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from datetime import datetime
from typing import Final, ParamSpec, TypeVar, overload

from petiole.protocol.events import Document
from petiole.protocol.values import finite, plain, words
from petiole.worker.bound import Bound
from petiole.worker.loops import Loop, length_of
from petiole.worker.nobody import nobody
from petiole.worker.run import Run, current_counter, current_run

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")

_current: Final = current_run.get
_current_counter: Final = current_counter.get
# The amount of nearly every `advance`, recognised by identity, which costs nothing.
ONE: Final = 1


class Progress:
    """The calls of a task. Each may raise `Cancelled` or `Fenced` where the run must end.

    None waits for the journal. In a task that computes, handing a fact to the sending thread takes up to 1 ms.
    """

    def stage(self, name: str, *, total: float | None = None, unit: str | None = None, until: float = 1.0) -> None:
        """Begin a stage of the task, counting from zero.

        `total` in `unit`s (a plural noun such as "rows"); `None`: not known. `until`: the share of the whole task, 0 to 1,
        that is done when this stage ends.
        """
        if (run := _live()) is not None:
            run.stage(name, total, unit, until)

    @staticmethod
    def advance(amount: float = 1) -> None:
        """Count `amount` more as done. It only counts, unless the page has to be notified."""
        if amount is ONE:
            counter = _current_counter()
            counter.completed += 1
            if not counter.dirty:
                if (run := _current()) is not None:
                    run.tell()
                else:
                    nobody.hear()
        elif (run := _speaker()) is not None:
            run.advance(amount)

    def update(
        self, *, completed: float | None = None, total: float | None = None, description: str | None = None
    ) -> None:
        """Set the completed count, the total or a short description; without any it only checks for a cancel."""
        if (run := _live()) is not None:
            run.update(completed, total, description)

    def log(self, message: str, *, level: str = "info") -> None:
        """Add a line to the page's log. It never raises, so that clean-up after a cancel can use it."""
        if (run := _speaker()) is not None:
            run.log(message, level)

    def emit(self, name: str, data: object = None) -> None:
        """Send an event of the application's own: delivered in order, once, as every fact.

        `data` becomes JSON that every reader understands alike, by the rules of `petiole.protocol.values.plain`. An event
        that is too large is set aside, and a log line says so.

        Raises:
            InvalidEvent: outside a task, where `data` is too large.
        """
        if (run := _live()) is not None:
            run.emit(name, data)
        else:
            plain(data)

    def write(self, text: str | None, name: str = "output") -> None:
        """Add to a text that the page shows while it grows: an answer, a transcript, the output of a program.

        The first piece goes out at once, then what has come together, at most `PETIOLE_TEXTS_PER_SECOND` times a second. `None`
        adds nothing. A task has at most 8 texts, of `PETIOLE_TEXT_LIMIT` bytes together; what is past that is left out, which
        the log and the receipt say. A character that UTF-8 can't carry (half of a surrogate pair) becomes U+FFFD. Outside a
        task it prints, if standard output is a terminal.
        """
        if (run := _live()) is not None:
            run.write(text, name)
        elif text and sys.stdout.isatty():
            sys.stdout.write(text)
            sys.stdout.flush()

    @overload
    def stream(
        self, chunks: AsyncIterable[T], name: str = "output", *, text: Callable[[T], str | None] | None = None
    ) -> AsyncIterator[T]: ...

    @overload
    def stream(
        self, chunks: Iterable[T], name: str = "output", *, text: Callable[[T], str | None] | None = None
    ) -> Iterator[T]: ...

    def stream(
        self,
        chunks: Iterable[T] | AsyncIterable[T],
        name: str = "output",
        *,
        text: Callable[[T], str | None] | None = None,
    ) -> Iterator[T] | AsyncIterator[T]:
        """Write each chunk as it comes, and yield it; of an asynchronous iterable asynchronously.

        `text(chunk)` returns what to write of a chunk that isn't text itself, such as a message of an API.
        """
        if isinstance(chunks, AsyncIterable):
            return self._stream_async(chunks, name, text)
        return self._stream(chunks, name, text)

    def _stream(self, chunks: Iterable[T], name: str, text: Callable[[T], str | None] | None) -> Iterator[T]:
        try:
            for chunk in chunks:
                self.write(text(chunk) if text else chunk, name)  # type: ignore[arg-type]
                yield chunk
        finally:
            # A source that is left ends now: Python 3.12 keeps the names of a closed generator as long as the generator.
            del chunks

    async def _stream_async(
        self, chunks: AsyncIterable[T], name: str, text: Callable[[T], str | None] | None
    ) -> AsyncIterator[T]:
        async for chunk in chunks:
            self.write(text(chunk) if text else chunk, name)  # type: ignore[arg-type]
            yield chunk

    def artifact(
        self,
        name: str,
        *,
        url: str | None = None,
        size: int | None = None,
        rows: int | None = None,
        sha256: str | None = None,
        media_type: str | None = None,
        expires_at: int | datetime | None = None,
    ) -> None:
        """Announce something that can be fetched: a file, a report.

        `size` in bytes, `expires_at` in milliseconds since 1970, or a datetime. Call it once the thing exists, not before.
        """
        if (run := _live()) is not None:
            artifact: Document = {
                "name": name,
                "url": url,
                "size": size,
                "rows": rows,
                "sha256": sha256,
                "media_type": media_type,
                "expires_at": expires_at,
            }
            run.artifact(artifact)

    def confirm(self, *, timeout: float = 10.0) -> bool:
        """Ask the journal whether this run may still publish its result; call it right before publishing.

        True: it may. False: unknown, because the journal didn't answer within `timeout` seconds.

        Raises:
            Cancelled: the task was asked to stop.
            Fenced: a later run of the task has begun.
        """
        run = _live()
        return run is None or run.confirm(timeout)

    @property
    def cancelled(self) -> bool:
        """Whether the task was asked to stop; for a loop that ends by itself instead of by `Cancelled`."""
        run = _speaker()
        return run is not None and run.cancelled

    @staticmethod
    def bound() -> Bound:
        """Return the current task, for code that a library calls in a thread or a callback of its own.

        `bound(function)` returns a function that reports for the task, and within `with bound:` everything does.
        """
        return Bound(_current())

    @staticmethod
    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        """Return `function` (or a coroutine function) bound to the current task, for use in any thread or callback.

        It doesn't work in another process.
        """
        return Bound(_current())(function)


progress = Progress()
# Called at each step of a loop: an instance attribute is found faster than a method is bound, which Python does at each call.
vars(progress)["advance"] = Progress.advance


def track(
    iterable: Iterable[T], *, total: float | None = None, unit: str | None = None, description: str | None = None
) -> Iterator[T]:
    """Yield the items and count each as done when the next one is asked for.

    `total` is the length where the iterable has one, else unknown. Inside a `progress.stage` and without a description it
    counts for that stage; otherwise it is a stage itself. Of nested loops the outermost counts.
    """
    return _Tracked(iterable, total, unit, description)


class _Tracked(Iterator[T]):
    """The items, by a `for` statement or by `next`; a loop that was left resumes where it was."""

    def __init__(self, iterable: Iterable[T], total: float | None, unit: str | None, description: str | None) -> None:
        self._iterable, self._total, self._unit, self._description = iterable, total, unit, description
        self._items: Iterator[T] | None = None
        self._by_hand: Iterator[T] | None = None
        self._loop: Loop | None = None
        self._is_through = False

    def __iter__(self) -> Iterator[T]:
        # A new iterator, which only the `for` statement holds: it ends as soon as the loop is left.
        return self._step_through(by_hand=False) if self._by_hand is None else self._by_hand

    def __next__(self) -> T:
        if self._by_hand is None:
            self._by_hand = self._step_through(by_hand=True)
        return next(self._by_hand)

    def _step_through(self, *, by_hand: bool) -> Iterator[T]:
        run = _live()
        if self._is_through:
            return
        if self._total is None:
            self._total = length_of(self._iterable)
        if run is None:
            yield from _drawn(self._iterable, self._total, self._description)
            return
        loop = self._begin(run, by_hand=by_hand)
        counter, items = loop.counter, self._items
        if items is None:
            items = self._items = iter(self._iterable)
        try:
            if loop.speaks:
                for item in items:
                    yield item
                    counter.completed += 1
                    if not counter.dirty:
                        loop.tell()
            else:
                signals = run.outbox.signals
                for item in items:
                    yield item
                    counter.completed += 1
                    if signals.cancel or signals.fenced:
                        run.stop_if_ended()
            self._is_through = True
            loop.run_out()
        finally:
            loop.end()

    def _begin(self, run: Run, *, by_hand: bool) -> Loop:
        # The count of an earlier `for` statement is part of its stage already.
        done = 0 if self._loop is None else self._loop.counter.completed
        self._loop = Loop(
            run,
            description=self._description,
            total=self._total,
            unit=self._unit,
            scoped=not by_hand,
            completed=done,
            counted=done,
        )
        return self._loop


def _speaker() -> Run | None:
    run = _current()
    if run is None and nobody.listens:
        nobody.hear()
    return run


def _live() -> Run | None:
    run = _speaker()
    if run is not None:
        run.stop_if_ended()
    return run


def _drawn(iterable: Iterable[T], total: object, description: str | None) -> Iterable[T]:
    if sys.stderr.isatty() and importlib.util.find_spec("rich") is not None:
        from rich.console import Console
        from rich.progress import track as draw

        # A generator: rich would call `len`, which may raise anything.
        items = (item for item in iterable)
        return draw(items, words(description or "Working"), total=finite(total), console=Console(stderr=True))
    return iterable
