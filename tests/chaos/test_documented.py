"""docs/guarantee.md lists the scenarios as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos.scenarios import SCENARIOS, Scenario
from chaos.without import OF_BROWSERS, SWITCHES

GUARANTEE = (Path(__file__).parents[2] / "docs" / "guarantee.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: str(each.number))
def test_every_scenario_is_a_row_of_the_guarantee(scenario: Scenario) -> None:
    row = f"| {scenario.number} | {scenario.title} | {scenario.required} | `{scenario.without}`: "
    assert row in GUARANTEE


def test_every_scenario_has_a_number_of_its_own_and_a_mechanism_to_switch_off() -> None:
    numbers = [scenario.number for scenario in SCENARIOS]
    assert len(set(numbers)) == len(numbers)
    assert {scenario.without for scenario in SCENARIOS} == {*SWITCHES, *OF_BROWSERS}
