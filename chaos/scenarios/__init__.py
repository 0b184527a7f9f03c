"""The faults, one file for each family. A new scenario is a row in its family's `SCENARIOS`."""

from __future__ import annotations

from chaos.scenarios import browser, bus, journal, web
from chaos.scenarios.scenario import Load, Scenario

FAMILIES = (bus, browser, journal, web)
SCENARIOS = tuple(
    sorted((each for family in FAMILIES for each in family.SCENARIOS), key=lambda each: each.number)
)

__all__ = ["SCENARIOS", "Load", "Scenario"]
