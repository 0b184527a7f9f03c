"""Tapes: what a task has said, played to a real client with drops, doubles, cuts and losses."""

from __future__ import annotations

import pytest
import requests
from celery import Celery

from petiole import PetioleError, init_celery, progress, track
from petiole.client import Refused, TaskClient
from petiole.testing import Tape, run_task
from petiole.testing.plugin import petiole_tape  # noqa: F401 (a fixture)
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def recording():
    app = Celery("taped", broker="redis://127.0.0.1:1/0", set_as_current=False)
    init_celery(app)

    @app.task(name="taped", shared=False)
    def taped():
        for n in track(range(6), unit="rows"):
            progress.log(f"line {n}")
            progress.write(f"té{n} ")

    return run_task(taped, task_id="taped-1")


def watch(player):
    client = TaskClient(player.url)
    shown = []
    view = client.watch(player.feed, on_event=lambda event: shown.append(event) if event.is_fact else None)
    player.wait()
    view.wait(timeout=10)
    client.close()
    return view, [event.id for event in shown]


FAULTS = {
    "none": {},
    "dropped": {"drop": {4, 9, 10}},
    "doubled": {"double": set(range(2, 12))},
    "cut": {"cut": {5, 14}},
    "all at once": {"drop": {3, 15}, "double": {3, 8}, "cut": {8, 15}},
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS)
def test_whatever_is_done_to_a_tape_its_reader_has_all_of_it(recording, petiole_tape, faults):  # noqa: F811
    view, shown = watch(petiole_tape(recording, lockstep=True, **faults))
    assert shown == [event.id for event in recording.facts]
    assert view.document == recording.document
    assert view.texts == recording.texts
    assert view.receipt.complete
    assert view.resets == 0


def test_a_lost_end_is_rung_again_as_a_relay_does(recording, petiole_tape):  # noqa: F811
    view, shown = watch(petiole_tape(recording, drop={len(recording.events)}))
    assert shown == [event.id for event in recording.facts]
    assert view.receipt.complete


def test_a_journal_that_has_lost_everything_is_a_reset_and_nothing_else_is_missing(recording, petiole_tape):  # noqa: F811
    view, shown = watch(petiole_tape(Tape.of(recording).lost_at(9), lockstep=True, double={12}))
    # The event that finds out is in the document that replaces the reader's.
    assert view.resets == 1
    assert len(shown) >= len(recording.facts) - 1
    assert view.document == recording.document
    assert view.texts == recording.texts
    assert not view.receipt.complete


def test_a_tape_is_the_same_in_a_file(recording, petiole_tape, tmp_path):  # noqa: F811
    path = tmp_path / "taped.jsonl"
    Tape.of(recording).save(path)
    assert Tape.load(path) == Tape.of(recording)
    player = petiole_tape(path)
    assert watch(player)[1] == [event.id for event in recording.facts]
    page = requests.get(player.url, timeout=5).text
    assert '<petiole-task task="taped-1">' in page
    assert requests.get(f"{player.url}petiole/static/petiole.js", timeout=5).status_code == 200


def test_of_facts_alone_the_texts_are_left_out(recording, petiole_tape):  # noqa: F811
    view, shown = watch(petiole_tape(Tape.of(recording.facts), drop={4}))
    assert shown == [event.id for event in recording.facts]
    assert view.receipt.complete
    assert view.texts == {}


def test_what_a_tape_cannot_do_is_said_in_a_sentence(recording, petiole_tape, tmp_path):  # noqa: F811
    with pytest.raises(PetioleError, match="doesn't begin with its task's first fact"):
        Tape.of(recording.events[3:])
    with pytest.raises(PetioleError, match="of one task"):
        Tape.of([])
    (tmp_path / "wrong.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(PetioleError, match=r"Line 1 of .* isn't an event"):
        Tape.load(tmp_path / "wrong.jsonl")
    with pytest.raises(PetioleError, match="Line 99 isn't played"):
        petiole_tape(recording, drop={99})
    player = petiole_tape(recording)
    client = TaskClient(player.url)
    try:
        with pytest.raises(Refused, match="task:taped-1 alone"):
            client.watch("task:other").wait(timeout=5)
        wait_until(lambda: client.connected, what="it is connected")
        with pytest.raises(Refused, match="This is a tape"):
            client.watch(player.feed).cancel()
    finally:
        client.close()
