"""The parts of a scenario of a fault run."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from chaos.backbones import REDIS
from chaos.system import System

# Breaks something while the tasks run, and returns the figure to print.
Fault: TypeAlias = Callable[[System, random.Random], str]
# Returns a sentence for each violation of this scenario's own requirement.
Check: TypeAlias = Callable[[System], list[str]]


@dataclass(frozen=True)
class Load:
    """The tasks that are running when the fault begins, and how many browsers follow each of them."""

    tasks: int = 8
    facts: int = 200
    interval: float = 0.03
    browsers: int = 6
    task: str = "say"


@dataclass(frozen=True)
class Scenario:
    """One row of the table.

    `required` says what is required besides the invariants, and `check` checks it. Without a `load` the fault starts tasks and
    browsers by itself. `without` names the mechanism that the negative control switches off. `on`: the backbones that it runs
    on.
    """

    number: int
    title: str
    fault: Fault
    without: str
    required: str = ""
    check: Check | None = None
    load: Load | None = field(default_factory=Load)
    resets_allowed: bool = False
    # After a reset to an older place, facts may be shown again that were shown before it.
    repeats_allowed: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    full_settings: Mapping[str, str] = field(default_factory=dict)
    clocks: Mapping[str, float] = field(default_factory=dict)
    workers: int = 2
    compares_durations: bool = False
    # Whether each finished task must have one notice in its owner's inbox at the end.
    checks_notices: bool = True
    # kombu loses a message that Redis has handed over and that isn't noted as unacknowledged yet, if Redis is killed then.
    broker_apart: bool = False
    on: tuple[str, ...] = (REDIS,)
