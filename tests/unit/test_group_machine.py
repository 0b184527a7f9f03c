"""Groups in memory, with many examples; and the state machine finds a journal that goes by other rules."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from petiole.journal import groups
from tests.support import memory_groups
from tests.unit.group_machine import MemoryGroupStore, machine_on
from tests.unit.test_group_model import MUTATIONS, mutated

PACE = settings(
    max_examples=200,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.slow
def test_a_group_in_memory_goes_by_the_rules():
    run_state_machine_as_test(machine_on(MemoryGroupStore()), settings=PACE)


@pytest.mark.parametrize("name", [name for name in MUTATIONS if "is alive" not in MUTATIONS[name][3]])
def test_the_state_machine_finds_a_journal_that_goes_by_another_rule(monkeypatch, name):
    _, before, after, _ = MUTATIONS[name]
    wrong = mutated(before, after)
    changed = {each: getattr(wrong, each) for each in ("contribute", "cancel", "again")}
    monkeypatch.setattr(memory_groups, "groups", SimpleNamespace(**{**vars(groups), **changed}))
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            machine_on(MemoryGroupStore()),
            settings=settings(PACE, phases=[Phase.generate], report_multiple_bugs=False),
        )
