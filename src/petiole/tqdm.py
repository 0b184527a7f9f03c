"""tqdm for tasks: `from petiole.tqdm import tqdm, trange` in place of tqdm's own.

Inside a tracked task a bar moves the task's progress and draws nothing; of nested bars the outermost speaks. Elsewhere it is
tqdm's own bar. Needs the extra `petiole[tqdm]`.
"""

from __future__ import annotations

import functools
import inspect
import io
import math
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from petiole.protocol.values import finite, text_of
from petiole.worker.loops import Loop, length_of
from petiole.worker.nobody import nobody
from petiole.worker.run import current_run

try:
    from tqdm import std
    from tqdm.asyncio import tqdm_asyncio
except ModuleNotFoundError:
    raise ImportError("petiole.tqdm needs tqdm, which isn't installed. Install petiole[tqdm].") from None

__all__ = ["tqdm", "trange"]

# tqdm's default unit isn't shown on a page.
UNITS: Final = {"it": None, "B": "bytes"}
_SIGNATURE: Final = inspect.signature(std.tqdm.__init__)


class tqdm(std.tqdm):  # type: ignore[misc]
    """tqdm's bar; within a tracked task, the task's progress. `async for`, `gather` and `as_completed` work too."""

    n: Any
    total: Any
    # tqdm's own class for these calls `iter` in its constructor, which runs a query.
    as_completed: Any = classmethod(tqdm_asyncio.as_completed.__func__)
    gather: Any = classmethod(tqdm_asyncio.gather.__func__)

    def __new__(cls, *_: Any, **__: Any) -> tqdm:
        if current_run.get() is None:
            if nobody.listens:
                nobody.hear()
            drawn: tqdm = super().__new__(cls)
            return drawn
        asked: Any = cls
        bar: tqdm = super().__new__(asked if issubclass(asked, _Live) else _live(asked))
        return bar

    def __aiter__(self) -> AsyncIterator[Any]:
        return _Asynchronous(self)

    @classmethod
    def write(cls, s: str, file: Any = None, end: str = "\n", nolock: bool = False) -> None:
        """Print a line beside the bars; inside a tracked task it is a line of its log."""
        run = current_run.get()
        if run is not None and file in (None, sys.stdout, sys.stderr):
            run.log(s, "info")
        else:
            super().write(s, file=file, end=end, nolock=nolock)


class _Asynchronous(AsyncIterator[Any]):
    """The items of a bar by `async for`; the bar ends as soon as the loop is left."""

    def __init__(self, bar: tqdm) -> None:
        self._bar = bar
        iterable = bar.iterable
        self._items = aiter(iterable) if hasattr(iterable, "__aiter__") else iter(iterable)
        self._under_way = False
        if isinstance(bar, _Live):
            bar.scope()

    async def __anext__(self) -> Any:
        if self._under_way:
            self._bar.update()
        self._under_way = False
        try:
            item = next(self._items) if isinstance(self._items, Iterator) else await anext(self._items)
        except StopIteration:
            self._bar.close()
            raise StopAsyncIteration from None
        except BaseException:
            self._bar.close()
            raise
        self._under_way = True
        return item

    def __del__(self) -> None:
        self._bar.close()


class _Live(tqdm):
    """A bar that speaks for a run. Its calls may raise `Cancelled` or `Fenced`, as those of `progress`."""

    # No thread that redraws bars: these aren't drawn.
    monitor_interval = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._loop: Loop | None = None
        self._told = ""
        given = _SIGNATURE.bind(self, *args, **kwargs).arguments
        options = {**given.pop("kwargs", {}), **given}
        options.pop("self")
        total = options.get("total")
        if total is None:
            total = length_of(options.get("iterable"))
        # `disable=None` disables a bar without a terminal; a page has none and is watched. With an infinite total (unknown)
        # tqdm doesn't ask for the length, which may raise anything.
        options |= {
            "file": io.StringIO(),
            "disable": bool(options.get("disable")),
            "total": math.inf if (number := finite(total)) is None else number,
        }
        super().__init__(**options)
        run = current_run.get()
        if self.disable or run is None:
            return
        # tqdm keeps the bars that share a terminal. Where it no longer calls the set so, this one stays in it.
        with self.get_lock():
            getattr(self, "_instances", set()).discard(self)
        run.stop_if_ended()
        self._run, self._signals = run, run.outbox.signals
        self._told = words = self._words()
        self._loop = Loop(
            run,
            description=words or None,
            total=total,
            unit=UNITS.get(unit := text_of(self.unit), unit),
            scoped=False,
            completed=finite(self.n) or 0,
        )

    def scope(self) -> None:
        """Speak until Python itself ends the bar, if no other loop speaks."""
        if self._loop is not None:
            self._loop.scoped = True
            self._loop.claim()

    def __enter__(self) -> tqdm:
        self.scope()
        bar: tqdm = super().__enter__()
        return bar

    def __iter__(self) -> Iterator[Any]:
        loop = self._loop
        if self.disable or loop is None:
            yield from self.iterable
            return
        self.scope()
        counter, signals = loop.counter, self._signals
        try:
            if loop.speaks:
                for item in self.iterable:
                    yield item
                    self.n = counter.completed = self.n + 1
                    if not counter.dirty:
                        loop.tell()
                loop.run_out()
                return
            for item in self.iterable:
                yield item
                self.n += 1
                if signals.cancel or signals.fenced:
                    self._run.stop_if_ended()
        finally:
            self.close()

    def __len__(self) -> int:
        # `list` calls this, and accepts a TypeError for "unknown", but no other error.
        length = self.total if self.iterable is None else length_of(self.iterable)
        if length is None:
            raise TypeError("The length of what this bar counts isn't known.")
        return int(length)

    def update(self, n: float | None = 1) -> None:
        """Count `n` more."""
        if self.disable or (loop := self._loop) is None:
            return
        self.n += n
        if type(self.n) is int:
            loop.counter.completed = self.n
        elif (number := finite(self.n)) is not None:
            loop.counter.completed = number
        if not loop.counter.dirty:
            loop.tell()

    def reset(self, total: float | None = None) -> None:
        """Restart from zero, with another total if one is given."""
        loop, self._loop = self._loop, None
        super().reset(total)
        self._loop = loop
        if loop is not None:
            loop.total = self.total
            self._run.counts.reset_loop(loop)
            loop.claim()

    def display(self, *_: Any, **__: Any) -> bool:
        """Tell the page what tqdm would draw: `refresh` and each change of the words call this."""
        loop = self._loop
        if loop is not None:
            self._run.counts.move_loop(loop, self.n, self.total)
            loop.tell()
            words = self._words()
            if loop.speaks and words != self._told:
                self._run.update(None, None, words)
            self._told = words
        return True

    def clear(self, nolock: bool = False) -> None:
        """Do nothing: nothing is drawn."""

    def close(self) -> None:
        """Tell the final count; the next bar speaks for the run."""
        if getattr(self, "disable", True):
            return
        self.disable = True
        loop, self._loop = self._loop, None
        if loop is not None:
            number = finite(self.n)
            if number is not None and number != loop.counter.completed:
                loop.counter.completed = number
                if loop.speaks:
                    self._run.outbox.touch()
            loop.end()

    def _words(self) -> str:
        """Return the text that tqdm would write before and after the bar."""
        described = text_of(getattr(self, "desc", None) or "").removesuffix(": ")
        behind = text_of(getattr(self, "postfix", None) or "")
        return ", ".join(part for part in (described, behind) if part)


def trange(*args: Any, **kwargs: Any) -> tqdm:
    """Return `tqdm(range(…), …)`."""
    return tqdm(range(*args), **kwargs)


@functools.cache
def _live(cls: Any) -> Any:
    """Return a class whose bars speak for a run, with what an application's own subclass adds to tqdm."""
    return _Live if cls is tqdm else type(cls.__name__, (cls, _Live), {})
