"""Faults against the whole system, in the selection that proves most in a second; `python -m chaos` runs them all."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos.run import Options, run
from chaos.scenarios import QUICK, SCENARIOS, Scenario

from tests.conftest import any_redis_binary

CHOSEN = [pytest.param(each, id=each.title.replace(" ", "-")) for each in SCENARIOS if each.number in QUICK]


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options(any_redis_binary(), seed=7, quick=True, keep=tmp_path)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("scenario", CHOSEN)
def test_what_the_fault_breaks_is_healed_and_without_its_mechanism_the_checker_sees_it(
    scenario: Scenario, options: Options
) -> None:
    assert run(scenario, options, control=False).found == []
    assert run(scenario, options, control=True).found, f"the checker is blind: {scenario.without} is off"
