"""tqdm for tasks: `from petiole.tqdm import tqdm, trange` in place of tqdm's own.

Inside a tracked task a bar moves the task's progress and draws nothing; of nested bars the outermost speaks. Elsewhere it is
tqdm's own bar. Needs the extra `petiole[tqdm]`.
"""

from __future__ import annotations

import functools
import inspect
import io
import sys
import weakref
from collections.abc import Iterator
from typing import Any, Final

from petiole.worker.nobody import nobody
from petiole.worker.run import Run, current_run, finite

try:
    from tqdm import std
except ModuleNotFoundError:
    raise ImportError("petiole.tqdm needs tqdm, which isn't installed. Install petiole[tqdm].") from None

__all__ = ["tqdm", "trange"]

# What tqdm calls what it counts when nobody has said it: not a word for a page.
NO_UNIT: Final = "it"
_SIGNATURE: Final = inspect.signature(std.tqdm.__init__)


class tqdm(std.tqdm):  # type: ignore[misc]
    """tqdm's bar, or the progress of the task that it is made in."""

    n: Any
    total: Any

    def __new__(cls, *_: Any, **__: Any) -> tqdm:
        if current_run.get() is None:
            if nobody.listens:
                nobody.hear()
            plain: tqdm = super().__new__(cls)
            return plain
        # Not by tqdm's own: that begins a thread which looks after what is drawn.
        asked: Any = cls
        bar: tqdm = object.__new__(asked if issubclass(asked, _Live) else _live(asked))
        with cls.get_lock():
            cls._instances.add(bar)
        return bar

    @classmethod
    def write(cls, s: str, file: Any = None, end: str = "\n", nolock: bool = False) -> None:
        """Print a line beside the bars; inside a tracked task it is a line of its log."""
        run = current_run.get()
        if run is not None and file in (None, sys.stdout, sys.stderr):
            run.log(str(s), "info")
        else:
            super().write(s, file=file, end=end, nolock=nolock)


class _Live(tqdm):
    """A bar that speaks for a run. Its calls may raise `Cancelled` or `Fenced`, as those of `progress`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._run: Run | None = None
        self._told = ""
        given = _SIGNATURE.bind(self, *args, **kwargs).arguments
        options = {**given.pop("kwargs", {}), **given}
        options.pop("self")
        # `disable=None` is for who looks at no terminal; a page is looked at.
        options |= {"file": io.StringIO(), "disable": bool(options.get("disable"))}
        super().__init__(**options)
        run = current_run.get()
        if self.disable or run is None:
            return
        # Only bars that are drawn have to know of each other.
        with self.get_lock():
            self._instances.discard(self)
        run.stop_if_ended()
        self._signals, self._steps = run.outbox.signals, run.steps
        if run.bar is not None and run.bar() is not None:
            return
        self._run, run.bar = run, weakref.ref(self)
        words = self._words()
        unit = None if self.unit == NO_UNIT else str(self.unit)
        run.begin_loop(words or None, self.total, unit)
        self._told = words
        if self.n:
            run.update(self.n, None, None)

    def __iter__(self) -> Iterator[Any]:
        if self.disable:
            yield from self.iterable
            return
        run, steps, signals = self._run, self._steps, self._signals
        try:
            if run is None:
                for item in self.iterable:
                    yield item
                    self.n += 1
                    if signals.cancel or signals.fenced:
                        self._stop_if_ended()
                return
            for item in self.iterable:
                yield item
                self.n = steps.completed = self.n + 1
                if not steps.dirty:
                    run.tell()
        finally:
            self.close()

    def update(self, n: float | None = 1) -> None:
        """Count `n` more."""
        if self.disable:
            return
        self.n += n
        run = self._run
        if run is None:
            if self._signals.cancel or self._signals.fenced:
                self._stop_if_ended()
            return
        if type(self.n) is int:
            self._steps.completed = self.n
        elif (number := finite(self.n)) is not None:
            self._steps.completed = number
        if not self._steps.dirty:
            run.tell()

    def reset(self, total: float | None = None) -> None:
        """Begin again from zero, with another total if one is given."""
        super().reset(total)
        if self._run is not None:
            self._run.update(0, self.total, None)

    def display(self, *_: Any, **__: Any) -> bool:
        """Tell the page what tqdm would draw: every `refresh`, and what changes the words, comes here."""
        run = self._run
        if run is not None:
            run.stop_if_ended()
            words = self._words()
            run.update(self.n, self.total, None if words == self._told else words)
            self._told = words
        return True

    def clear(self, nolock: bool = False) -> None:
        """Do nothing: nothing is drawn."""

    def close(self) -> None:
        """Say where it stands; the next bar speaks for the run."""
        if getattr(self, "disable", True):
            return
        self.disable = True
        run, self._run = self._run, None
        if run is not None:
            run.update(self.n, None, None)
            run.bar = None

    def _stop_if_ended(self) -> None:
        run = current_run.get()
        if run is not None:
            run.stop_if_ended()

    def _words(self) -> str:
        """Return what tqdm would write before and behind the bar."""
        described = (getattr(self, "desc", "") or "").removesuffix(": ")
        behind = getattr(self, "postfix", None) or ""
        return ", ".join(part for part in (described, behind) if part)


def trange(*args: Any, **kwargs: Any) -> tqdm:
    """Return `tqdm(range(…), …)`."""
    return tqdm(range(*args), **kwargs)


@functools.cache
def _live(cls: Any) -> Any:
    """Return a class whose bars speak for a run, and that keeps what a class of the application's own adds to tqdm."""
    return _Live if cls is tqdm else type(cls.__name__, (cls, _Live), {})
