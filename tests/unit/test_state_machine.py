"""Task states in memory, with many examples; and the state machine finds a wrong rule."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import rule, run_state_machine_as_test

from petiole.journal import rules
from petiole.journal.rules import MAX_SILENT_ENDS
from petiole.protocol import states
from petiole.protocol.texts import Span
from tests.unit.state_machine import MemoryStore, StateMachine, machine_on

PACE = settings(
    max_examples=250,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
# Runs write more often than they do anything else.
WRITING = {f"a_run_writes_{number}": StateMachine.a_run_writes for number in range(4)}


@pytest.mark.slow
def test_a_task_goes_through_its_states_as_the_oracle_says():
    run_state_machine_as_test(machine_on(MemoryStore()), settings=PACE)


def test_texts_are_as_the_oracle_says():
    run_state_machine_as_test(machine_on(MemoryStore(), **WRITING), settings=PACE)


def breaks(**more):
    """Whether the state machine finds the injected fault."""
    try:
        run_state_machine_as_test(
            machine_on(MemoryStore(), **more),
            settings=settings(PACE, phases=[Phase.generate], report_multiple_bugs=False),
        )
    except AssertionError:
        return True
    return False


def test_the_state_machine_finds_a_transition_that_may_not_be(monkeypatch):
    wrong = {**states.PREDECESSORS, states.RETRYING: states.ACTIVE}
    monkeypatch.setattr(states, "may_follow", lambda state, before: before is None or before in wrong[state])
    assert breaks()


def test_the_state_machine_finds_a_terminal_state_that_is_not_final():
    @rule()
    def the_journal_forgets_the_end(self):
        kept = self.journal._feeds[self.feed]
        if states.is_terminal(kept.state):
            kept.document["state"] = states.RUNNING

    assert breaks(the_journal_forgets_the_end=the_journal_forgets_the_end)


@pytest.mark.slow
def test_the_state_machine_finds_a_task_that_may_kill_its_workers_for_ever(monkeypatch):
    monkeypatch.setattr(rules, "MAX_SILENT_ENDS", MAX_SILENT_ENDS + 1)
    assert breaks()


def test_the_state_machine_finds_a_text_that_is_appended_wherever_it_ends(monkeypatch):
    decide = rules.append

    def append_anyhow(kept, *, span=None, **event):
        if span is not None:
            end = kept.texts.of_run(event["run"]).length(span.name)
            span = Span(span.name, end, end + span.end - span.at)
        return decide(kept, span=span, **event)

    monkeypatch.setattr(rules, "append", append_anyhow)
    assert breaks(**WRITING)


def test_the_state_machine_finds_a_later_run_that_goes_on_with_the_text_of_the_one_before(monkeypatch):
    monkeypatch.setattr(rules, "texts_once_begun", lambda texts, run: texts)
    assert breaks(**WRITING)
