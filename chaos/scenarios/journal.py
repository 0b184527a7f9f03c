"""Faults of the journal: its data lost, old or gone for a while, a server that can't write, replies that are lost."""

from __future__ import annotations

import random
import time
from pathlib import Path

import redis

from chaos.scenarios.scenario import Load, Scenario
from chaos.system import System, pings, wait_until
from petiole.demo.redis_server import free_port, redis_command
from petiole.events import Draft
from petiole.journal import open_journal
from petiole.settings import Settings


def flush_all(system: System, rng: random.Random) -> str:
    time.sleep(rng.uniform(1.0, 2.0))
    # Not FLUSHALL of the whole server: the broker's own bookkeeping is not what is tried here.
    keys = list(system.redis().scan_iter("petiole:*", count=1000))
    system.redis().delete(*keys)
    system.noted["gone"] = time.monotonic()
    return f"{len(keys)} keys gone"


def resets_are_said(system: System) -> list[str]:
    """Every browser is told within 10 s, and numbers go on."""
    found = []
    for each in (seen for browser in system.browsers for seen in browser.seen() if seen.browser != "late reader"):
        resets = [entry["at"] - system.noted["gone"] for entry in each.entries if "reset" in entry]
        if not resets or min(resets) > 10:
            found.append(f"I9 {each.browser} on task {each.task}: no reset within 10 s, but {resets}")
        numbers = [entry["facts"] for entry in each.entries if "event" in entry]
        if numbers != sorted(numbers):
            found.append(f"I2 {each.browser} on task {each.task}: numbers go back across the reset")
        ends = sum(entry.get("state") == "succeeded" for entry in each.entries)
        if ends != 1:
            found.append(f"I7 {each.browser} on task {each.task}: {ends} terminal facts")
    return found


def fall_back(system: System, rng: random.Random) -> str:
    """Let the journal fail over again and again to a replica that has not had everything."""
    directory = system.directory
    ports = [free_port(), free_port()]
    for port in ports:
        server = system.processes.start(
            f"journal{port}", redis_command(system.binary, port=port, directory=Path(directory / f"journal-{port}"))
        )
        system.processes.wait_ready(server, timeout=30, condition=lambda port=port: pings(port))  # type: ignore[misc]
    clients = {port: redis.Redis(port=port, socket_timeout=5) for port in ports}
    for side in (system.worker_side, system.web_side):
        side.target = ports[0]
        side.reset_all()
    accepted = {number: system.start_task("say", number, 2400 if system.full else 500, 0.03) for number in range(4)}
    for number in range(4):
        browser = system.browser(f"browser {number}", number, without=system.without)
        for task, answer in accepted.items():
            browser.follow(task, answer)
    wait_until(lambda: len(system.said()) == 4, what="every task has begun", timeout=30)
    rounds, lost = 200 if system.full else 8, 0
    active, spare = ports
    for number in range(rounds):
        clients[spare].replicaof("127.0.0.1", active)
        _wait_for_sync(clients[spare])
        clients[spare].replicaof("NO", "ONE")
        # From here on the replica is stale. What has no writer that could say it again is lost with the fail-over, and its
        # numbers are given to something else.
        journal = open_journal(Settings(journal_url=f"redis://127.0.0.1:{active}/0"))
        for answer in accepted.values():
            for _ in range(rng.randrange(1, 4)):
                journal.append(answer["feed"], Draft("log", data={"level": "info", "message": f"round {number}"}))
                lost += 1
        journal.close()
        time.sleep(rng.uniform(0.05, 0.5))
        # The sides hear of a fail-over at different times: when the readers come, the writers have made the numbers up again.
        for side in (system.worker_side, system.web_side):
            side.target = spare
            side.reset_all()
            time.sleep(rng.uniform(0.2, 0.8))
        active, spare = spare, active
        time.sleep(rng.uniform(0.1, 0.6))
    system.noted["accepted"] = accepted
    return f"{rounds} fail-overs to a stale replica, {lost} lines of others lost by them"


def _wait_for_sync(replica: redis.Redis) -> None:
    def in_sync() -> bool:
        info = replica.info("replication")
        return info.get("master_link_status") == "up" and not info.get("master_sync_in_progress")

    wait_until(in_sync, what="the replica has everything", timeout=20)


def same_at_the_end(system: System) -> list[str]:
    """A browser that was there all the time and one that comes afterwards agree, and what was taken back was said."""
    found = []
    for task, answer in system.noted["accepted"].items():
        documents = [browser.views[task].document for browser in system.browsers if task in browser.views]
        if any(document != documents[-1] for document in documents):
            found.append(f"I4 {answer['feed']}: browsers hold different documents at the end")
    again = sum(
        len(shown) - len(set(shown))
        for browser in system.browsers
        for each in browser.seen()
        for shown in [[entry["said"] for entry in each.entries if entry.get("said") is not None]]
    )
    resets = sum("reset" in entry for browser in system.browsers for each in browser.seen() for entry in each.entries)
    system.noted["figure"] = f"{resets} resets said, {again} facts shown again after one"
    return found


def kill_redis(system: System, rng: random.Random) -> str:
    time.sleep(rng.uniform(1.0, 2.0))
    system.kill_redis()
    system.start_redis()
    return "killed and restarted with its append-only file"


def take_redis_away(system: System, _random: random.Random) -> str:
    away = 60 if system.full else 8
    time.sleep(1)
    system.kill_redis()
    time.sleep(away)
    system.start_redis()
    return f"away for {away} s"


def pause_redis(system: System, _random: random.Random) -> str:
    time.sleep(1)
    system.pause_redis()
    time.sleep(5)
    system.resume_redis()
    return "paused for 5 s"


def refuse_writes(system: System, _random: random.Random) -> str:
    """Fill the server up, free it, and then let its snapshots fail (MISCONF)."""
    time.sleep(0.5)
    server = system.redis()
    server.config_set("maxmemory", "1mb")
    time.sleep(2.5)
    refused = [_refusal(server)]
    server.config_set("maxmemory", "0")
    time.sleep(0.5)
    # A directory in the place of its file: a snapshot can't be renamed to it, as on a disk that isn't writable.
    place = system.directory / "redis" / "dump.rdb"
    place.unlink(missing_ok=True)
    place.mkdir()
    server.config_set("save", "3600 1")
    server.bgsave()
    wait_until(
        lambda: server.info("persistence")["rdb_last_bgsave_status"] == "err", what="the snapshot fails", timeout=10
    )
    time.sleep(2.5)
    refused.append(_refusal(server))
    place.rmdir()
    server.bgsave()
    wait_until(
        lambda: server.info("persistence")["rdb_last_bgsave_status"] == "ok", what="the snapshot succeeds", timeout=10
    )
    server.config_set("save", "")
    system.noted["refused"] = refused
    return f"refused with {' and '.join(refused)}, 2.5 s each"


def _refusal(server: redis.Redis) -> str:
    try:
        server.set("chaos", "1")
    except redis.RedisError as error:
        return (
            "OOM"
            if "maxmemory" in str(error)
            else "MISCONF"
            if "RDB" in str(error) or "MISCONF" in str(error)
            else str(error)
        )
    return "nothing"


def was_refused(system: System) -> list[str]:
    refused = system.noted["refused"]
    return [] if refused == ["OOM", "MISCONF"] else [f"the server refused with {refused}, not with OOM and MISCONF"]


def lose_replies(system: System, rng: random.Random) -> str:
    system.worker_side.faults.cut = lambda: rng.random() < 0.02
    return "2 % of the writers' replies lost"


SCENARIOS = (
    Scenario(
        8,
        "the journal's keys gone",
        flush_all,
        "rebase",
        required="`reset` within 10 s, numbers go on, one terminal fact",
        check=resets_are_said,
        resets_allowed=True,
    ),
    Scenario(
        9,
        "fail-over to a stale replica",
        fall_back,
        "chain",
        required="no silent divergence",
        check=same_at_the_end,
        load=None,
        resets_allowed=True,
        repeats_allowed=True,
    ),
    Scenario(
        10,
        "Redis killed and restarted",
        kill_redis,
        "resend",
        resets_allowed=True,
        required="the un-synced second is appended again by its writers",
    ),
    Scenario(
        11,
        "Redis away",
        take_redis_away,
        "resend",
        required="the tasks take at most 5 % longer; what was dropped is counted exactly",
        resets_allowed=True,
        settings={"PETIOLE_OUTBOX_LIMIT": "100"},
        compares_durations=True,
    ),
    Scenario(
        12,
        "Redis paused",
        pause_redis,
        "resend",
        required="no emit call over 50 ms; the tasks take at most 5 % longer",
        compares_durations=True,
    ),
    Scenario(
        13,
        "Redis full, then MISCONF",
        refuse_writes,
        "passing",
        required="treated as away; the end arrives",
        check=was_refused,
        load=Load(facts=300),
    ),
    Scenario(20, "replies of an append lost", lose_replies, "numbers", required="one entry for each fact"),
)
