"""Faults of RabbitMQ and of PostgreSQL, for runs on both only."""

from __future__ import annotations

import random
import time

from chaos.backbones import RABBITMQ
from chaos.scenarios.journal import pause_journal
from chaos.scenarios.scenario import Load, Scenario
from chaos.system import System

# Seconds. All of them happen while the tasks of the scenario run.
SHORT_OF_MEMORY, FROZEN = 2.0, 3.0


def kill_both(system: System, rng: random.Random) -> str:
    time.sleep(rng.uniform(1.0, 2.0))
    backbone = system.rabbitmq()
    backbone.kill_journal()
    backbone.kill_bus()
    time.sleep(1.5)
    backbone.start_journal()
    backbone.start_bus()
    return "both killed at once and restarted, PostgreSQL first"


def trouble_broker(system: System, _random: random.Random) -> str:
    """Let the broker run short of memory, lose its queues, freeze, and be killed and restarted, one after the other."""
    broker = system.rabbitmq()
    time.sleep(1)
    broker.raise_memory_alarm()
    time.sleep(SHORT_OF_MEMORY)
    broker.clear_memory_alarm()
    deleted = broker.delete_bus_queues()
    time.sleep(1)
    broker.pause_bus()
    time.sleep(FROZEN)
    broker.resume_bus()
    time.sleep(0.5)
    broker.kill_bus()
    broker.start_bus()
    system.noted["deleted"] = deleted
    return f"short of memory for {SHORT_OF_MEMORY:g} s, {deleted} queues deleted, frozen for {FROZEN:g} s, killed and restarted"


def each_had_a_queue(system: System) -> list[str]:
    deleted, webs = system.noted["deleted"], len(system.webs)
    return [] if deleted == webs else [f"{deleted} queues were deleted, and there are {webs} web processes"]


def stop_journal(system: System, _random: random.Random) -> str:
    away = 60 if system.full else 8
    time.sleep(1)
    system.server().stop_journal()
    time.sleep(away)
    system.server().start_journal()
    return f"stopped for {away} s"


SCENARIOS = (
    Scenario(
        10,
        "PostgreSQL and RabbitMQ killed",
        kill_both,
        "resend",
        required="both restarted: nothing acknowledged is gone, no reset",
        on=(RABBITMQ,),
    ),
    Scenario(
        12,
        "PostgreSQL paused",
        pause_journal,
        "resend",
        required="no emit call over 50 ms; the tasks take at most 5 % longer",
        compares_durations=True,
        on=(RABBITMQ,),
    ),
    Scenario(
        31,
        "RabbitMQ in trouble",
        trouble_broker,
        "own_threads",
        required="alarm, deleted queues, freeze, restart: no emit call over 50 ms; the tasks take at most 5 % longer",
        check=each_had_a_queue,
        load=Load(facts=450),
        compares_durations=True,
        on=(RABBITMQ,),
    ),
    Scenario(
        38,
        "the SQL journal stopped",
        stop_journal,
        "resend",
        required="the tasks take at most 5 % longer; dropped events are counted exactly",
        settings={"PETIOLE_OUTBOX_LIMIT": "100"},
        compares_durations=True,
        on=(RABBITMQ,),
    ),
)
