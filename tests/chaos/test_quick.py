"""Faults against the whole system: the selection that proves most per second; `python -m chaos` runs all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.backbones import BACKBONES, RABBITMQ
from chaos.run import Options, run
from chaos.scenarios import QUICK, SCENARIOS, Scenario
from tests.conftest import any_redis_binary, postgres_binaries, rabbitmq_scripts

CHOSEN = [
    pytest.param(backbone, each, id=f"{backbone}-{each.title.replace(' ', '-')}")
    for backbone in BACKBONES
    for each in SCENARIOS
    if backbone in each.on and each.number in QUICK[backbone]
]


def binary_of(backbone: str) -> str:
    """Return the redis-server; if the servers of a backbone aren't installed the test fails in CI and is skipped elsewhere."""
    if backbone != RABBITMQ:
        return any_redis_binary()
    rabbitmq_scripts()
    postgres_binaries()
    return ""


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("backbone", "scenario"), CHOSEN)
def test_what_the_fault_breaks_is_healed_and_without_its_mechanism_the_checker_sees_it(
    backbone: str, scenario: Scenario, tmp_path: Path
) -> None:
    options = Options(binary_of(backbone), seed=7, backbone=backbone, quick=True, keep=tmp_path)
    assert run(scenario, options, control=False).found == []
    assert run(scenario, options, control=True).found, f"the checker is blind: {scenario.without} is off"
