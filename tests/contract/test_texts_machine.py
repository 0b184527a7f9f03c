"""Texts on real servers: the state machine of `tests/unit/test_texts.py`, with few examples on each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from petiole.bus import open_bus
from petiole.journal import Journal
from petiole.journal.answers import Claimed, Stored
from petiole.protocol.events import Cursor, Event
from tests.contract.backends import FEED, Backend, ManyServersBackend
from tests.contract.conftest import REDIS, SQL
from tests.contract.test_bus import Listener
from tests.support.waiting import wait_until
from tests.unit.test_texts import PACE, TextMachine

pytestmark = pytest.mark.slow

Ring = Callable[[str, str | bytes], None]


class Ringing:
    """A journal in Redis whose rings have been heard when a call returns, so that examples can be repeated."""

    def __init__(self, journal: Journal, listener: Listener, ring: Ring) -> None:
        self._journal = journal
        self._listener = listener
        self._ring = ring
        self._passed_on = len(listener.heard)

    def open(self, *given: Any, **more: Any) -> Any:
        return self._heard(self._journal.open(*given, **more))

    def claim(self, *given: Any, **more: Any) -> Any:
        return self._heard(self._journal.claim(*given, **more))

    def append(self, *given: Any, **more: Any) -> Any:
        return self._heard(self._journal.append(*given, **more))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._journal, name)

    def _heard(self, answer: Any) -> Any:
        if isinstance(answer, Cursor | Claimed | Stored):
            place = answer if isinstance(answer, Cursor) else answer.cursor
            wait_until(lambda: self._hears(place), what=f"{place} has rung")
        return answer

    def _hears(self, place: Cursor) -> bool:
        heard = self._listener.heard[self._passed_on :]
        self._passed_on += len(heard)
        for feed, text in heard:
            self._ring(feed, text)
        return any(Event.from_text(text).cursor.place == place for _, text in heard)


@contextmanager
def listening(backend: Backend) -> Iterator[Callable[[Journal, Ring], Any]]:
    """Yield what makes a journal ring."""
    if not isinstance(backend, ManyServersBackend):

        def ring_by_itself(journal: Journal, ring: Ring) -> Journal:
            journal._ring = ring  # type: ignore[attr-defined]
            return journal

        yield ring_by_itself
        return
    listener = Listener(open_bus(backend.make()._settings))
    listener.start()
    assert listener.bus.follow(FEED, timeout=10.0)
    yield lambda journal, ring: Ringing(journal, listener, ring)
    listener.close()


@pytest.mark.parametrize("name", [*REDIS, *SQL])
def test_what_is_read_is_what_was_written(name: str, make_backend: Callable[[str], Backend]) -> None:
    backend = make_backend(name)
    journals = {kept: backend.make(facts_kept=kept) for kept in (2, 2000)}
    with listening(backend) as make_ringing:

        class Machine(TextMachine):
            def open_journal(self, facts_kept: int) -> Any:
                journal = journals[facts_kept]
                journal.forget(FEED)
                return make_ringing(journal, self.hear)

        run_state_machine_as_test(
            Machine, settings=settings(PACE, max_examples=25, database=None, phases=[Phase.generate])
        )
