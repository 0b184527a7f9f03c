"""A run whose journal has faults."""

from __future__ import annotations

import pytest

from tests.support.memory_journal import MemoryJournal
from tests.unit.progress.shared import Clock
from tests.unit.runs import Faults, running


@pytest.fixture
def journal(make_settings):
    return Faults(MemoryJournal(make_settings()))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def run(journal, make_settings):
    with running(journal, make_settings(counters_per_second=0)) as current:
        yield current
