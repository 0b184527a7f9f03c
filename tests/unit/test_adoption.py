"""The `meta` of Celery users' states, read as progress."""

from __future__ import annotations

import threading
from decimal import Decimal

import pytest
from celery import Celery

from petiole.errors import Cancelled, PetioleError, RunEnded
from petiole.protocol.events import feed_of
from petiole.worker.progress import progress
from petiole.worker.update_state import Said, adopt_update_state, understand
from tests.support.memory_journal import MemoryJournal
from tests.unit.runs import FEED, SOON, Faults, running


@pytest.mark.parametrize(
    ("meta", "said"),
    [
        ({"current": 3, "total": 10}, Said(3, 10)),
        ({"done": 3, "total": 10, "message": "Reading"}, Said(3, 10, "Reading")),
        ({"completed": 3, "total": 10}, Said(3, 10)),
        ({"current": 3, "total": 10, "status": "Adjusting the dilithium…"}, Said(3, 10, "Adjusting the dilithium…")),
        # celery-progress's recorder, with and without a total
        ({"pending": False, "current": 3, "total": 10, "percent": 30.0, "description": "Rows"}, Said(3, 10, "Rows")),
        ({"pending": False, "current": 3, "total": 0, "percent": 0, "description": ""}, Said(3, None)),
        ({"current": Decimal(3), "total": Decimal(10)}, Said(3.0, 10.0)),
        ({"current": 7}, Said(7, None)),
        ({"percent": 42}, Said(42, 100)),
        ({"percent": 0.5}, Said(0.5, 100)),
        ({"current": 3, "percent": 42}, Said(42, 100)),
        ({"progress": 42}, Said(42, 100)),
        ({"progress": 1}, Said(1, 100)),
        ({"progress": 0.42}, Said(42.0, 100)),
        ({"progress": 1.0}, Said(100.0, 100)),
        ({"progress": 3, "total": 10}, Said(3, 10)),
        ({"status": "Waiting for the other side"}, Said(None, None, "Waiting for the other side")),
        ({"description": "", "status": "second"}, Said(None, None, "second")),
    ],
)
def test_what_is_known_is_read(meta, said):
    assert understand(meta) == said


@pytest.mark.parametrize(
    "meta",
    [None, "half", 5, [1, 2], {}, {"rows": 5}, {"current": "3"}, {"current": None, "total": None}, {"current": True},
     {"current": -1}, {"percent": float("nan")}, {"progress": float("inf")}, {"progress": {"done": 3}}, {"status": 200},
     {"total": 10}, {5: 6}, {"exc_type": "ValueError", "exc_message": ["no"]}, {"current": 10**40}],
)  # fmt: skip
def test_what_is_not_known_is_passed_over(meta):
    assert understand(meta) == Said()


class TestWhoSpeaks:
    @pytest.fixture
    def run(self, make_settings):
        with running(Faults(MemoryJournal(make_settings())), make_settings()) as current:
            yield current

    @pytest.fixture
    def task(self, run):
        celery_app = Celery("adopting", broker="memory://", backend="cache+memory://")

        def nothing():
            pass

        adopted = celery_app.task(nothing, name="a.task", shared=False)
        adopt_update_state(adopted, lambda feed: run if feed == FEED else None)
        return adopted

    def in_a_thread(self, call):
        raised = []

        def work():
            try:
                call()
            except (PetioleError, RunEnded) as error:
                raised.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join(SOON)
        return raised

    def test_a_thread_that_names_the_task_moves_its_page(self, run, task):
        meta = {"current": 3, "total": 10}
        assert self.in_a_thread(lambda: task.update_state(task_id="a", state="PROGRESS", meta=meta)) == []
        assert (run.progress()["completed"], run.progress()["total"]) == (3, 10)
        assert task.backend.get_task_meta("a")["result"] == meta

    def test_a_thread_that_was_handed_the_task_need_not_name_it(self, run, task):
        meta = {"current": 3, "total": 10}
        assert self.in_a_thread(progress.wrap(lambda: task.update_state(state="PROGRESS", meta=meta))) == []
        assert (run.progress()["completed"], run.progress()["total"]) == (3, 10)
        assert task.backend.get_task_meta("a")["result"] == meta

    def test_arguments_are_celerys_own_by_place_and_by_name(self, run, task):
        task.update_state("b", "HALF", {"current": 5})
        task.update_state("c", meta={"current": 5}, state="HALF")
        assert [task.backend.get_task_meta(name)["status"] for name in "bc"] == ["HALF", "HALF"]
        assert run.progress()["completed"] == 0

    def test_a_thread_of_a_cancelled_task_is_not_ended_and_the_task_is(self, run, task):
        run.outbox.signals.cancel = True
        assert self.in_a_thread(lambda: task.update_state(task_id="a", state="PROGRESS", meta={"current": 3})) == []
        with pytest.raises(Cancelled):
            task.update_state(task_id="a", state="PROGRESS", meta={"current": 4})

    @pytest.mark.parametrize("task_id", ["import:7", "a/b", "x" * 200, "ä"])
    def test_an_id_of_any_characters_raises_nothing(self, run, task, task_id):
        for call in (lambda: None, lambda: task.update_state(task_id=task_id, state="PROGRESS", meta={"current": 3})):
            call()
            assert self.in_a_thread(call) == []
        assert run.progress()["completed"] == 0

    @pytest.mark.parametrize(
        ("task_id", "feed"), [("a.b-c_1~2@3", "task:a.b-c_1~2@3"), ("a:b", None), ("", None), (5, "task:5")]
    )
    def test_an_id_is_part_of_an_address_or_is_not(self, task_id, feed):
        assert feed_of(task_id) == feed
