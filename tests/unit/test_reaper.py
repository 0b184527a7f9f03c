"""The reaper's reports on runs whose lease has ended, and on tasks that it sends again."""

from __future__ import annotations

from contextlib import suppress

import pytest
from celery import Celery, Task

from petiole.dispatch.outcome import outcome
from petiole.dispatch.tracking import Tracking
from petiole.errors import PetioleError, Refusal, TaskFailure, Unavailable
from petiole.journal.groups import Contribution
from petiole.protocol import states
from petiole.protocol.events import Draft, task_feed
from petiole.web.background.reaper import AT_ONCE, Reaper, conclude_silent
from tests.support.memory_journal import MemoryJournal
from tests.support.open_group import OpenGroup

ID = "11111111-2222-4333-8444-555555555555"
FEED = task_feed(ID)


class Clock:
    now = 1_764_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tracking(make_settings, clock) -> Tracking:
    """An application with results and messages in this process."""
    app = Celery("reaper-test", broker="memory://", backend="cache+memory://")
    app.backend.forget(ID)  # its store is shared by the process
    made = Tracking(app, make_settings())
    made.journal = MemoryJournal(made.settings, clock=clock)
    return made


def stalled(tracking: Tracking, clock: Clock, **more: object) -> None:
    """A task whose worker is gone, and whose lease has ended."""
    tracking.journal.open(FEED, owner="ann", draft=Draft("state", {"state": "queued"}))
    draft = Draft("state", {"state": "running", "worker": "w@host", **more})
    message = '{"task":"say"}' if more.get("rerun") else ""
    tracking.journal.claim(FEED, draft, worker="w", delivery="d", retries=0, lease=1, message=message)
    clock.now += 2


def document(tracking: Tracking) -> dict:
    snapshot = tracking.journal.snapshot(FEED)
    assert snapshot is not None
    return snapshot.document


def test_a_task_that_was_acknowledged_early_is_stalled_and_then_lost(tracking, clock):
    stalled(tracking, clock, acknowledged="early")
    reaper = Reaper(tracking)
    reaper.look()
    assert document(tracking)["state"] == "stalled"
    assert document(tracking)["reason"] == "No news from the worker w@host."
    reaper.look()
    assert document(tracking)["state"] == "stalled"
    clock.now += tracking.settings.lost_after + 1
    reaper.look()
    assert document(tracking)["state"] == "lost"


def test_a_task_that_was_acknowledged_late_stays_stalled(tracking, clock):
    stalled(tracking, clock, acknowledged="late")
    reaper = Reaper(tracking)
    reaper.look()
    clock.now += 86400
    reaper.look()
    assert document(tracking)["state"] == "stalled"


@pytest.mark.parametrize(
    ("celery_state", "result", "expected"),
    [
        ("SUCCESS", {"rows": 7}, "succeeded"),
        ("FAILURE", ValueError("secret"), "failed"),
        ("REVOKED", None, "cancelled"),
    ],
)
def test_a_task_that_has_ended_by_celerys_record_is_not_lost(tracking, clock, celery_state, result, expected):
    stalled(tracking, clock, acknowledged="early")
    tracking.celery_app.backend.store_result(ID, result, celery_state)
    reaper = Reaper(tracking)
    reaper.look()
    clock.now += tracking.settings.lost_after + 1
    reaper.look()
    assert document(tracking)["state"] == expected
    if expected == "succeeded":
        assert document(tracking)["result"] == {"rows": 7}
    assert "secret" not in str(document(tracking))


def test_a_task_that_celery_calls_started_is_lost(tracking, clock):
    stalled(tracking, clock, acknowledged="early")
    tracking.celery_app.backend.store_result(ID, None, "STARTED")
    reaper = Reaper(tracking)
    reaper.look()
    clock.now += tracking.settings.lost_after + 1
    reaper.look()
    assert document(tracking)["state"] == "lost"


def test_a_verdict_waits_for_a_result_backend_that_is_away_and_others_do_not(tracking, clock):
    tracking.celery_app = Celery("reaper-test", broker="memory://", backend="redis://127.0.0.1:1/0")
    tracking.celery_app.conf.result_backend_transport_options = {"retry_policy": {"max_retries": 0}}
    tracking.celery_app.conf.redis_retry_on_timeout = False
    stalled(tracking, clock, acknowledged="early")
    reaper = Reaper(tracking)
    reaper.look()
    other = task_feed("other")
    tracking.journal.open(other, owner="ann", draft=Draft("state", {"state": "queued"}), lease=1)
    clock.now += tracking.settings.lost_after + 1
    reaper.look()
    assert document(tracking)["state"] == "stalled"
    assert tracking.journal.snapshot(other).document["state"] == "failed"


def test_what_opted_in_is_sent_again_and_waits_for_a_worker(tracking, clock):
    sent: list[str] = []
    tracking.send_again = sent.append
    stalled(tracking, clock, acknowledged="early", rerun=True)
    reaper = Reaper(tracking)
    reaper.look()
    assert sent == ['{"task":"say"}']
    assert document(tracking)["state"] == "stalled"
    assert document(tracking)["reason"] == "No news from the worker w@host. The task is sent again."
    clock.now += 86400
    reaper.look()
    assert sent == ['{"task":"say"}']
    assert document(tracking)["state"] == "stalled"


def test_what_could_not_be_sent_again_is_sent_by_the_next_who_looks(tracking, clock):
    sent: list[str] = []

    def dies(_message: str) -> None:
        raise SystemExit

    tracking.send_again = dies
    stalled(tracking, clock, rerun=True)
    with pytest.raises(SystemExit):
        Reaper(tracking).look()
    tracking.send_again = sent.append
    Reaper(tracking).look()
    assert sent == []
    clock.now += tracking.settings.dispatch_lease + 1
    Reaper(tracking).look()
    assert sent == ['{"task":"say"}']


def test_one_unreadable_feed_does_not_keep_the_others_waiting(tracking, clock, monkeypatch):
    stalled(tracking, clock, acknowledged="early")
    bad = task_feed("bad")
    tracking.journal.open(bad, owner="ann", draft=Draft("state", {"state": "queued"}), lease=0.5)
    clock.now += 1
    tracking.journal._feeds[bad].document["worker"] = tracking.journal._feeds[bad].document["state"] = None
    tracking.journal._feeds = {bad: tracking.journal._feeds[bad], FEED: tracking.journal._feeds[FEED]}
    Reaper(tracking).look()
    assert document(tracking)["state"] == "stalled"


@pytest.mark.parametrize("state", [*states.ACTIVE, *states.TERMINAL])
@pytest.mark.parametrize("rerun", [None, True])
def test_every_state_has_a_verdict_that_may_follow_it(make_settings, state, rerun):
    said = conclude_silent({"state": state, "rerun": rerun}, settings=make_settings(), now=1).draft.state
    if not states.is_terminal(state):
        assert said is None or states.may_follow(said, state)


def lease_ended(tracking: Tracking, clock: Clock, name: str, **more: object) -> str:
    """A task whose lease has ended and whose worker is gone."""
    feed = task_feed(name)
    tracking.journal.open(feed, owner="ann", draft=Draft("state", {"state": "queued"}))
    draft = Draft("state", {"state": "running", "worker": "w@host", "acknowledged": "early", **more})
    message = '{"task":"say"}' if more.get("rerun") else ""
    tracking.journal.claim(feed, draft, worker="w", delivery=name, retries=0, lease=1, message=message)
    clock.now += 2
    return feed


def state_of(tracking: Tracking, feed: str) -> str:
    snapshot = tracking.journal.snapshot(feed)
    assert snapshot is not None
    return str(snapshot.document["state"])


def say() -> None: ...


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize(
    "error", [ValueError("x"), Unprintable(), Refusal("WRONGTYPE"), PetioleError("LAYOUT"), KeyError()]
)
def test_whatever_one_feed_raises_the_others_are_spoken_for(tracking, clock, monkeypatch, error):
    bad, good = lease_ended(tracking, clock, "bad"), lease_ended(tracking, clock, "good")
    snapshot = tracking.journal.snapshot

    def spoiled(feed: str) -> object:
        if feed == bad:
            raise error
        return snapshot(feed)

    monkeypatch.setattr(tracking.journal, "snapshot", spoiled)
    reaper = Reaper(tracking, clock=clock)
    reaper.look()
    assert snapshot(good).document["state"] == "stalled"
    clock.now += tracking.settings.lost_after + 1
    reaper.look()
    assert snapshot(good).document["state"] == "lost"


def test_so_many_bad_feeds_do_not_take_the_places_of_the_good_ones(tracking, clock, monkeypatch):
    bad = {lease_ended(tracking, clock, f"bad-{number}") for number in range(AT_ONCE + 20)}
    good = lease_ended(tracking, clock, "good")
    snapshot = tracking.journal.snapshot

    def spoiled(feed: str) -> object:
        if feed in bad:
            raise ValueError(feed)
        return snapshot(feed)

    monkeypatch.setattr(tracking.journal, "snapshot", spoiled)
    reaper = Reaper(tracking, clock=clock)
    for _ in range(3):
        reaper.look()
    assert snapshot(good).document["state"] == "stalled"


def test_a_feed_that_alone_cannot_be_read_for_a_minute_is_ended(tracking, clock, monkeypatch):
    bad = lease_ended(tracking, clock, "bad")
    snapshot = tracking.journal.snapshot

    def spoiled(feed: str) -> object:
        if feed == bad:
            raise Refusal("A document can't be read.")
        return snapshot(feed)

    monkeypatch.setattr(tracking.journal, "snapshot", spoiled)
    reaper = Reaper(tracking, clock=clock)
    for _ in range(40):
        reaper.look()
        clock.now += 2
    ended = snapshot(bad).document
    assert (ended["state"], ended["reason"]) == (
        "lost",
        "The worker disappeared, and what is known of the task can't be read.",
    )


@pytest.mark.parametrize(
    "backend",
    [
        "redis://127.0.0.1:1/0",  # down
        "nowhere+installed://",  # missing
        "cache+memory://",  # its content is from a serializer that isn't accepted
    ],
)
def test_a_result_that_cannot_be_read_is_waited_for_a_minute_and_then_the_verdict_is_given(
    tracking, clock, backend, caplog
):
    app = Celery("reaper-test", broker="memory://", backend=backend)
    app.conf.result_backend_transport_options = {"retry_policy": {"max_retries": 0}}
    tracking.celery_app = app
    if backend.startswith("cache"):
        app.backend.set(app.backend.get_key_for_task(ID), "not of any serializer")
    stalled(tracking, clock, acknowledged="early")
    reaper = Reaper(tracking, clock=clock)
    reaper.look()
    clock.now += tracking.settings.lost_after + 1
    for _ in range(28):
        reaper.look()
        assert document(tracking)["state"] == "stalled"
        clock.now += 2
    for _ in range(20):
        reaper.look()
        clock.now += 2
    assert document(tracking)["state"] == "lost"
    assert document(tracking)["reason"].startswith("The worker disappeared. ")
    assert len([record for record in caplog.records if record.msg == "verdict_postponed"]) == 1
    if backend.startswith("cache"):
        app.backend.forget(ID)


def test_a_failure_in_words_of_its_own_is_known_as_a_failure(tracking, clock):
    stalled(tracking, clock, acknowledged="early")
    tracking.celery_app.backend.store_result(ID, {"words": "of its own"}, "FAILURE")
    reaper = Reaper(tracking, clock=clock)
    reaper.look()
    clock.now += tracking.settings.lost_after + 1
    reaper.look()
    assert document(tracking)["state"] == "failed"
    assert document(tracking)["reason"] == "The task stopped on an unexpected error."
    tracking.celery_app.backend.forget(ID)


def test_an_error_without_words_has_an_outcome(tracking):
    class Silent(TaskFailure):
        def __str__(self) -> str:
            raise ValueError("no words")

    patch = outcome("FAILURE", Silent(), task_id=ID, now=1)
    assert patch["reason"] == "The task stopped on an error that can't be shown (Silent)."


def test_a_start_does_not_ask_a_result_backend_that_is_away(make_settings):
    app = Celery("start-test", broker="memory://", backend="redis://127.0.0.1:1/0")
    app.conf.result_backend_transport_options = {"retry_policy": {"max_retries": 1, "interval_start": 0}}
    made = Tracking(app, make_settings())
    made.journal = MemoryJournal(made.settings)
    app.task(name="say", shared=False)(say)
    made.start("say", owner="ann")
    assert [found.document["state"] for found in made.journal.list("ann", limit=10)[0]] == ["queued"]


def test_a_task_class_that_raises_when_it_is_published_leaves_no_task(make_settings):
    class Once(Task):
        def apply_async(self, *_args: object, **_options: object) -> None:
            raise LookupError("It runs already.")

    app = Celery("start-test", broker="memory://", backend="cache+memory://")
    made = Tracking(app, make_settings())
    made.journal = MemoryJournal(made.settings)
    task = app.task(name="say", base=Once, shared=False)(say)
    with pytest.raises(LookupError):
        made.start(task, owner="ann")
    assert made.journal.list("ann", limit=10)[0] == []


def test_what_lost_its_message_with_the_data_is_not_sent_and_ends_as_lost(tracking, clock):
    sent: list[str] = []
    tracking.send_again = sent.append
    feed = lease_ended(tracking, clock, "rerun", rerun=True)
    tracking.journal._feeds[feed].message = ""
    reaper = Reaper(tracking, clock=clock)
    reaper.look()
    assert tracking.journal.snapshot(feed).document["reason"] == "No news from the worker w@host."
    clock.now += tracking.settings.lost_after + 1
    reaper.look()
    assert state_of(tracking, feed) == "lost"
    assert sent == []


def test_a_task_class_that_raises_when_it_is_sent_again_is_lost_after_a_minute_and_says_so_once(tracking, clock):
    def raises(_message: str) -> None:
        raise TypeError("a task class of somebody's own")

    tracking.send_again = raises
    feed = lease_ended(tracking, clock, "rerun", rerun=True)
    reaper = Reaper(tracking, clock=clock)
    for _ in range(100):
        reaper.look()
        clock.now += 2
    reading = tracking.journal.read(feed, None, limit=100)
    assert [event.patch.get("state") for event in reading.events] == ["queued", "running", "stalled", "lost"]


def test_a_broker_that_is_away_for_an_hour_adds_no_line_and_the_task_is_sent_when_it_is_back(tracking, clock):
    sent: list[str] = []
    away = [True]

    def send(message: str) -> None:
        if away[0]:
            raise Unavailable("The broker is away.")
        sent.append(message)

    tracking.send_again = send
    feed = lease_ended(tracking, clock, "rerun", rerun=True)
    reaper = Reaper(tracking, clock=clock)
    for _ in range(120):
        with suppress(Unavailable):
            reaper.look()
        clock.now += tracking.settings.dispatch_lease + 1
    before = tracking.journal.snapshot(feed).cursor.facts
    away[0] = False
    reaper.look()
    assert len(sent) == 1
    assert before == tracking.journal.snapshot(feed).cursor.facts == 3


def test_a_group_whose_last_process_was_killed_before_it_rang_has_its_newest_number_and_says_that_nothing_runs(
    tracking, clock
):
    group = OpenGroup(tracking.journal, 2)
    group.begin(0)
    assert group.say(Contribution(0, states.SUCCEEDED)).due is not None

    def newest() -> dict:
        snapshot = tracking.journal.snapshot(group.feed)
        assert snapshot is not None
        return snapshot.document

    assert newest()["progress"]["children"]["running"] == 1
    reaper = Reaper(tracking, clock=clock)
    for _ in range(3):
        clock.now += tracking.settings.longest_lease
        reaper.look()
    assert newest()["progress"]["completed"] == 1
    assert newest()["unheard"].startswith("No worker runs a task of this group.")
