"""The faults, one file for each family. A new scenario is a row in its family's `SCENARIOS`."""

from __future__ import annotations

from chaos.backbones import RABBITMQ, REDIS, SQLITE
from chaos.scenarios import (
    access,
    browser,
    bus,
    content,
    exports,
    groups,
    hostile,
    inbox,
    journal,
    rabbitmq,
    task,
    web,
    worker,
)
from chaos.scenarios.scenario import Load, Scenario

FAMILIES = (bus, browser, journal, worker, task, web, content, exports, access, hostile, inbox, rabbitmq, groups)
SCENARIOS = tuple(sorted((each for family in FAMILIES for each in family.SCENARIOS), key=lambda each: each.number))
# The scenarios that prove most per second, for `make test`: on each backbone.
QUICK = {REDIS: (1, 6, 8, 18, 37, 46), RABBITMQ: (2,), SQLITE: (43,)}

__all__ = ["QUICK", "SCENARIOS", "Load", "Scenario"]
