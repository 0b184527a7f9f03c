"""A Redis user without all rights: the answer, readiness and the log name the missing ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from celery import Celery
from flask import Flask
from flask_socketio import SocketIO

from petiole import Petiole
from petiole.bus.redis import RedisBus
from petiole.errors import MissingRight, Unavailable
from petiole.journal.redis.journal import RedisJournal
from petiole.journal.trial import try_write
from petiole.protocol.events import Draft, task_feed
from petiole.redis.errors import RIGHTS
from petiole.settings import Settings
from tests.conftest import VARIANTS
from tests.contract.test_bus import FEED, SOON, Setup
from tests.support.redis import RedisServer
from tests.support.waiting import wait_until

_names = itertools.count(1)

MakeUrl = Callable[[str], str]


@pytest.fixture(params=[name for name in VARIANTS if name in ("oldest", "system")])
def url_of(request: pytest.FixtureRequest, redis_servers: Callable[[str], RedisServer]) -> Iterator[MakeUrl]:
    """`url_of(rules)`: the URL of a server, with a user that has only these rights."""
    server, users = redis_servers(request.param), []

    def make(rules: str) -> str:
        users.append(f"user{next(_names)}")
        with server.client() as client:
            client.execute_command("ACL", "SETUSER", users[-1], "reset", "on", ">swordfish", *rules.split())
        return f"redis://{users[-1]}:swordfish@127.0.0.1:{server.port}/0"

    yield make
    with server.client() as client:
        client.execute_command("ACL", "DELUSER", *users)


MISSING = [
    ("~* resetchannels +@all", "Redis doesn't let Petiole's user use its channels."),
    ("~* resetchannels &other* +@all", "Redis doesn't let Petiole's user use its channels."),
    ("~* &* +@all -publish", "Redis doesn't let Petiole's user run publish."),
    ("~* &* +@all -evalsha -eval", "Redis doesn't let Petiole's user run evalsha."),
    ("~* &* +@all -time", "Redis doesn't let Petiole's user run time."),
    ("~* &* +@all -ping", "Redis doesn't let Petiole's user run ping."),
    ("~other* &* +@all", "Redis doesn't let Petiole's user use its keys."),
    ("~* &* +@all -@write", "Redis doesn't let Petiole's user run a command that its scripts need."),
]


@pytest.mark.parametrize(("rules", "missing"), MISSING)
def test_what_is_missing_is_named(url_of, make_settings, rules, missing):
    journal = RedisJournal(make_settings(url_of(rules)))
    with pytest.raises(MissingRight) as refused:
        try_write(journal)
    # Since version 8 Redis names the command of a script.
    assert refused.value.missing in (missing, missing.replace("a command that its scripts need", "del"))
    assert "ACL SETUSER <user> ~petiole:* &petiole* +@read" in str(refused.value)
    assert "swordfish" not in str(refused.value)
    if "-ping" not in rules:  # which only readiness needs
        with pytest.raises(Unavailable):
            journal.open(task_feed("1"), owner="o", draft=Draft("state", {"state": "queued"}))
    journal.close()


# Scripts protect some commands from what somebody else has spoiled: a missing right isn't that.
@pytest.mark.parametrize(("verb", "command"), [("heads", "zscore"), ("heads", "hmget"), ("forget", "hget")])
def test_a_protected_command_that_is_missing_is_named_too(url_of, make_settings, verb, command):
    settings, feed = make_settings(url_of("~* &* +@all")), task_feed("protected")
    all_rights = RedisJournal(settings)
    all_rights.open(feed, owner="o", draft=Draft("state", {"state": "queued"}), lease=5)
    journal = RedisJournal(replace(settings, journal_url=url_of(f"~* &* +@all -{command}")))
    argument = [feed] if verb == "heads" else feed
    with pytest.raises(MissingRight):
        getattr(journal, verb)(argument)
    assert all_rights.heads([feed])[feed].lease_left is not None
    for each in (all_rights, journal):
        each.close()


def test_the_rights_that_the_message_names_are_enough(url_of, key_prefix):
    rules = "resetchannels " + RIGHTS.replace("petiole", key_prefix)
    settings = Settings(journal_url=url_of(rules), key_prefix=key_prefix)
    made = Setup(RedisJournal(settings), RedisBus(settings))
    made.listener.start()
    assert made.bus.follow(FEED, timeout=SOON)
    made.open()
    made.listener.wait_for(FEED, 1)
    assert made.bus.probe(timeout=SOON)
    try_write(made.journal)
    assert made.journal.inspect() is not None
    made.close()


@pytest.fixture
def made(key_prefix: str) -> Callable[[str], tuple[Petiole, Flask]]:
    """`made(url)`: an application with broker, backend and journal at this URL."""

    def make(url: str) -> tuple[Petiole, Flask]:
        celery_app = Celery("tasks", broker=url, backend=url, set_as_current=False)
        celery_app.conf.update(petiole_key_prefix=key_prefix)
        app = Flask(__name__)
        app.secret_key = "secret"
        petiole = Petiole(app, SocketIO(app, async_mode="threading"), celery_app=celery_app)
        app.add_url_rule("/start", "start", lambda: petiole.accepted(petiole.start("report")), methods=["POST"])
        app.testing = True  # nothing in the background
        return petiole, app

    return make


@pytest.mark.parametrize(("rules", "missing"), MISSING[:3])
def test_a_start_is_answered_503_and_readiness_says_what_is_missing(url_of, made, caplog, rules, missing):
    _petiole, app = made(url_of(rules))
    page = app.test_client()
    for _ in range(2):
        answer = page.post("/start")
        assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")
    ready = page.get("/petiole/ready")
    assert (ready.status_code, ready.json) == (503, {"ready": False, "reason": missing})
    lines = {record.msg: record.getMessage() for record in caplog.records}
    for name in ("call_refused", "not_ready"):
        assert "doesn't let its user do what Petiole needs" in lines[name]
        assert "ACL SETUSER" in lines[name]


def test_a_broker_that_takes_nothing_is_a_503_too(url_of, made, caplog):
    _petiole, app = made(url_of("~* &* +@all -lpush"))
    assert app.test_client().post("/start").status_code == 503
    said = [record.getMessage() for record in caplog.records if record.msg == "call_refused"]
    assert len(said) == 1
    assert "The broker didn't accept the task" in said[0]
    assert "'lpush'" in said[0]


def test_who_may_not_listen_is_told_so_by_readiness_and_by_the_log(url_of, made, caplog):
    _petiole, app = made(url_of("~* &* +@all -subscribe"))
    missing = "Redis doesn't let Petiole's user run subscribe."
    with app.app_context():
        state = app.extensions["petiole"]
        state.relay.watch(task_feed("1"), None)
        said = f"{missing} Events arrive late."
        wait_until(lambda: state.readiness.degraded() == said, timeout=SOON, what="the bus was refused")
    page = app.test_client()
    assert page.post("/start").status_code == 202
    ready = page.get("/petiole/ready")
    assert (ready.status_code, ready.json["ready"], ready.json["degraded"][:40]) == (200, True, missing[:40])
    (line,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert line.getMessage().startswith("bus_lost (pause=")
    assert "'subscribe'" in line.getMessage()
