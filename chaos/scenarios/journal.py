"""Faults of the journal: its data lost, stale or gone for a while, a server that can't write, lost replies."""

from __future__ import annotations

import random
import time

import redis
import requests

from chaos.backbones import BACKBONES, SERVERS, WEB, WORKER
from chaos.scenarios.scenario import Load, Scenario
from chaos.system import System
from petiole.protocol.events import Draft
from tests.support.waiting import wait_until


def empty_journal(system: System, rng: random.Random) -> str:
    time.sleep(rng.uniform(1.0, 2.0))
    gone = system.backbone.empty_journal()
    system.noted["gone"] = time.monotonic()
    return f"{gone} keys or rows gone"


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
    """Let the journal fall back repeatedly to a copy that doesn't have everything."""
    backbone = system.server()
    backbone.begin_fall_backs()
    accepted = {number: system.start_task("say", number, 2400 if system.full else 500, 0.03) for number in range(4)}
    for number in range(4):
        browser = system.browser(f"browser {number}", number, without=system.without)
        for task, answer in accepted.items():
            browser.follow(task, answer)
    wait_until(lambda: len(system.said()) == 4, what="every task has begun", timeout=30)
    rounds, lost = 200 if system.full else 8, 0
    for number in range(rounds):
        backbone.take_copy()
        # A fact whose writer can't send it again is lost with the fall-back, and its numbers are assigned to another fact.
        journal = backbone.open_journal()
        for answer in accepted.values():
            for _ in range(rng.randrange(1, 4)):
                journal.append(answer["feed"], Draft("log", data={"level": "info", "message": f"round {number}"}))
                lost += 1
        journal.close()
        time.sleep(rng.uniform(0.05, 0.5))
        # The sides see it at different times: when the readers come, the writers have caught up with the numbers.
        backbone.fall_back(lambda: time.sleep(rng.uniform(0.2, 0.8)))
        time.sleep(rng.uniform(0.1, 0.6))
    system.noted["accepted"] = accepted
    return f"{rounds} fall-backs to a stale copy, which lost {lost} lines of other writers"


def same_at_the_end(system: System) -> list[str]:
    """A browser that was connected all the time and one opened afterwards agree, and every rollback was reported."""
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
    system.noted["figure"] = f"{resets} resets reported, {again} facts shown again after one"
    return found


def kill_journal(system: System, rng: random.Random) -> str:
    time.sleep(rng.uniform(1.0, 2.0))
    system.server().kill_journal()
    system.server().start_journal()
    return "killed and restarted with its append-only file"


def take_journal_away(system: System, _random: random.Random) -> str:
    away = 60 if system.full else 8
    time.sleep(1)
    system.server().kill_journal()
    time.sleep(away)
    system.server().start_journal()
    return f"away for {away} s"


def pause_journal(system: System, _random: random.Random) -> str:
    time.sleep(1)
    system.server().pause_journal()
    time.sleep(5)
    system.server().resume_journal()
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
    # A directory in place of its file: a snapshot can't be renamed to it, as on a read-only disk.
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


def refuse_all(system: System, _random: random.Random) -> str:
    """Have the journal refuse in every way of its backbone, one after the other."""
    refused_for = 5.0 if system.full else 2.0
    time.sleep(0.5)
    refusals = system.backbone.refusals
    for refusal in refusals:
        with refusal.during():
            ends = time.monotonic() + refused_for
            if WEB in refusal.sides and not _is_said(system):
                system.noted.setdefault("unsaid", []).append(refusal.how)
            time.sleep(max(ends - time.monotonic(), 0.0))
    ways = dict.fromkeys(refusal.how for refusal in refusals)
    return f"refused {len(refusals)} times for {refused_for:g} s and more: {'; '.join(ways)}"


def _is_said(system: System) -> bool:
    """Wait until readiness reports that the journal refuses; false if it doesn't."""

    def is_not_ready() -> bool:
        return requests.get(_ready(system), timeout=5).status_code == 503

    try:
        wait_until(is_not_ready, what="readiness reports it", timeout=5)
    except TimeoutError:
        return False
    return True


def refusals_are_said(system: System) -> list[str]:
    """Readiness reports each refusal and its end, and the workers have met every one."""
    found = [f"readiness didn't report: {how}" for how in system.noted.get("unsaid", [])]
    answer = requests.get(_ready(system), timeout=5)
    if (answer.status_code, answer.json()) != (200, {"ready": True}):
        found.append(f"readiness answers {answer.status_code} {answer.text} afterwards")
    met, meant = system.log_count("journal_away"), sum(WORKER in each.sides for each in system.backbone.refusals)
    return found if met >= meant else [*found, f"the workers report {met} refusals of {meant}"]


def _ready(system: System) -> str:
    return f"{system.url()}/petiole/ready"


def lose_replies(system: System, rng: random.Random) -> str:
    system.worker_side.faults.cut = lambda: rng.random() < 0.02
    return "2 % of the writers' replies lost"


SCENARIOS = (
    Scenario(
        8,
        "the journal's data gone",
        empty_journal,
        "rebase",
        required="`reset` within 10 s, numbers go on, one terminal fact",
        check=resets_are_said,
        on=BACKBONES,
        resets_allowed=True,
    ),
    Scenario(
        9,
        "fall-back to a stale copy",
        fall_back,
        "chain",
        required="no silent divergence",
        check=same_at_the_end,
        on=SERVERS,
        load=None,
        resets_allowed=True,
        repeats_allowed=True,
    ),
    Scenario(
        10,
        "Redis killed and restarted",
        kill_journal,
        "resend",
        resets_allowed=True,
        required="the un-synced second is appended again by its writers",
    ),
    Scenario(
        11,
        "Redis down",
        take_journal_away,
        "resend",
        required="the tasks take at most 5 % longer; dropped events are counted exactly",
        resets_allowed=True,
        settings={"PETIOLE_OUTBOX_LIMIT": "100"},
        compares_durations=True,
    ),
    Scenario(
        12,
        "Redis paused",
        pause_journal,
        "resend",
        required="no emit call over 50 ms; the tasks take at most 5 % longer",
        compares_durations=True,
    ),
    Scenario(
        13,
        "Redis full, then MISCONF",
        refuse_writes,
        "passing",
        required="treated as an outage; the end arrives",
        check=was_refused,
        load=Load(facts=300),
    ),
    Scenario(
        41,
        "the journal refuses with unknown errors",
        refuse_all,
        "passing",
        required="no fact lost, not ready meanwhile, every part runs afterwards",
        check=refusals_are_said,
        load=Load(facts=300, interval=0.08),
        on=BACKBONES,
    ),
    Scenario(20, "replies of an append lost", lose_replies, "numbers", required="one entry for each fact", on=SERVERS),
)
