"""docs/guarantee.md lists the scenarios as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chaos.backbones import BACKBONES, RABBITMQ, REDIS, SQLITE
from chaos.scenarios import SCENARIOS, Scenario
from chaos.without import OF_BROWSERS, SWITCHES

GUARANTEE = (Path(__file__).parents[2] / "docs" / "guarantee.md").read_text(encoding="utf-8")
ON_REDIS, MORE = GUARANTEE.split("### On RabbitMQ and PostgreSQL\n")
ON_RABBITMQ, ON_SQLITE = MORE.split("### On SQLite\n")
TABLES = {REDIS: ON_REDIS, RABBITMQ: ON_RABBITMQ, SQLITE: ON_SQLITE}
ROW = re.compile(r"^\| (\d+) \| ", re.MULTILINE)


@pytest.mark.parametrize(
    ("backbone", "scenario"),
    [
        pytest.param(backbone, scenario, id=f"{backbone}-{scenario.number}")
        for scenario in SCENARIOS
        for backbone in scenario.on
    ],
)
def test_every_scenario_is_a_row_of_the_guarantee(backbone: str, scenario: Scenario) -> None:
    row = f"| {scenario.number} | {scenario.title} | {scenario.required} | `{scenario.without}`: "
    assert row in TABLES[backbone]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_row_of_the_guarantee_is_a_scenario(backbone: str) -> None:
    rows = [int(number) for number in ROW.findall(TABLES[backbone])]
    assert rows == [scenario.number for scenario in SCENARIOS if backbone in scenario.on]


def test_every_scenario_has_a_number_of_its_own_and_a_mechanism_to_switch_off() -> None:
    for backbone in BACKBONES:
        numbers = [scenario.number for scenario in SCENARIOS if backbone in scenario.on]
        assert len(set(numbers)) == len(numbers) > 0
    assert {scenario.without for scenario in SCENARIOS} == {*SWITCHES, *OF_BROWSERS}
