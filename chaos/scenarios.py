"""The faults, each with the mechanism that its negative control switches off."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from chaos.system import System

Fault = Callable[[System, random.Random], str]


@dataclass(frozen=True)
class Scenario:
    """One row of the table. `fault` runs beside the tasks and returns the figure that belongs to it."""

    number: int
    title: str
    fault: Fault
    without: str
    resets_allowed: bool = False
    settings: dict[str, str] = field(default_factory=dict)


def lose_the_last(system: System, _random: random.Random) -> str:
    system.web_side.faults.lose = lambda text: b'"state":"succeeded"' in text
    return "every ring of an end lost"


def lose_some(system: System, rng: random.Random) -> str:
    system.web_side.faults.lose = lambda _text: rng.random() < 0.05
    return "5 % of the rings lost"


def swallow_subscribers(system: System, _random: random.Random) -> str:
    time.sleep(1)
    system.web_side.faults.swallow = True
    time.sleep(1)
    system.web_side.faults.swallow = False
    return "the connections of the web side swallowed"


def kill_subscribers(system: System, _random: random.Random) -> str:
    killed = 0
    for _ in range(6):
        time.sleep(0.7)
        killed += int(system.redis().client_kill_filter(_type="pubsub"))
    return f"{killed} subscribers killed"


def cut_browsers(system: System, rng: random.Random) -> str:
    cuts = 0
    for _ in range(20):
        time.sleep(rng.uniform(0.05, 0.3))
        rng.choice(system.browsers).client.cut()
        cuts += 1
    return f"{cuts} connections cut"


def flush_all(system: System, rng: random.Random) -> str:
    time.sleep(rng.uniform(1.0, 2.0))
    # Not FLUSHALL of the whole server: the broker's own bookkeeping is not what is tried here.
    keys = list(system.redis().scan_iter("petiole:*", count=1000))
    system.redis().delete(*keys)
    return f"{len(keys)} keys gone"


def kill_redis(system: System, rng: random.Random) -> str:
    time.sleep(rng.uniform(1.0, 2.0))
    system.kill_redis()
    system.start_redis()
    return "killed and restarted with its append-only file"


def take_redis_away(system: System, _random: random.Random) -> str:
    time.sleep(1)
    system.kill_redis()
    time.sleep(8)
    system.start_redis()
    return "away for 8 s"


def pause_redis(system: System, _random: random.Random) -> str:
    time.sleep(1)
    system.pause_redis()
    time.sleep(5)
    system.resume_redis()
    return "paused for 5 s"


def lose_replies(system: System, rng: random.Random) -> str:
    system.worker_side.faults.cut = lambda: rng.random() < 0.02
    return "2 % of the writers' replies lost"


def kill_webs(system: System, _random: random.Random) -> str:
    for port in list(system.webs):
        time.sleep(1)
        system.kill_web(port)
        system.start_web(port)
    return "both web processes killed and restarted, one after the other"


SCENARIOS = (
    Scenario(1, "the bus drops the last event", lose_the_last, "head_check"),
    Scenario(2, "the bus drops 5 %", lose_some, "rule"),
    Scenario(3, "black hole on the web side", swallow_subscribers, "rule"),
    Scenario(4, "subscribers killed", kill_subscribers, "rule"),
    Scenario(6, "browsers cut", cut_browsers, "read_again"),
    Scenario(8, "the journal's keys gone", flush_all, "rebase", resets_allowed=True),
    Scenario(10, "Redis killed and restarted", kill_redis, "resend", resets_allowed=True),
    Scenario(11, "Redis away", take_redis_away, "resend", resets_allowed=True),
    Scenario(12, "Redis paused", pause_redis, "resend"),
    Scenario(20, "replies of an append lost", lose_replies, "numbers"),
    Scenario(23, "web processes killed", kill_webs, "read_again"),
)
