"""`petiole.testing`: a task runs without any server, by the same rules as in a worker."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from celery import Celery, group

from petiole import PetioleError, TaskFailure, init_celery, progress, track
from petiole.protocol.events import ZERO_CHAIN, Cursor
from petiole.protocol.reader import follow
from petiole.testing import run_task
from petiole.testing.plugin import petiole_run  # noqa: F401 (a fixture)
from tests.support.examples import ROOT, code_blocks

# Nothing answers there.
NOWHERE = "redis://127.0.0.1:1/0"


@pytest.fixture(scope="module")
def celery_app():
    app = Celery("rehearsed", broker=NOWHERE, backend=NOWHERE, set_as_current=False)
    init_celery(app)
    return app


@pytest.fixture(scope="module")
def report(celery_app):
    @celery_app.task(name="report", shared=False)
    def report(rows):
        progress.stage("Reading", until=0.5)
        progress.stage("Writing", total=rows, unit="rows")
        for _ in track(range(rows)):
            pass
        progress.write("a")
        progress.write("é")
        progress.write("err", "stderr")
        progress.log("Nearly there")
        progress.emit("checked", {"rows": rows})
        progress.artifact("report.csv", url="/report.csv", rows=rows)
        assert progress.confirm()
        return {"rows": rows}

    return report


def test_a_task_gives_its_facts_counters_and_texts_at_once(report, petiole_run):  # noqa: F811
    took = []
    for _ in range(3):
        began = time.perf_counter()
        ran = petiole_run(report, [20], title="Report")
        took.append(time.perf_counter() - began)
    assert min(took) < 0.05
    assert ran.states == ["queued", "running", "succeeded"]
    assert ran.document["title"] == "Report"
    assert ran.document["result"] == ran.value == {"rows": 20}
    assert ran.stages == ["Reading", "Writing"]
    assert [progress["completed"] for progress in ran.counters] == list(range(1, 21))
    assert (ran.progress["completed"], ran.progress["total"], ran.progress["fraction"]) == (20, 20, 1.0)
    assert ran.logs == ["Nearly there"]
    assert ran.emitted("checked") == [{"rows": 20}]
    assert ran.artifacts["report.csv"]["rows"] == 20
    assert ran.texts == {"output": "aé", "stderr": "err"}
    assert ran.text("nothing") == ""


def test_its_events_are_numbered_and_chained_as_a_journal_does(report):
    ran = run_task(report, [3])
    assert follow(Cursor(ran.events[0].epoch, 0, 0, ZERO_CHAIN), ran.facts)
    assert [event.seq for event in ran.events] == list(range(1, len(ran.events) + 1))
    assert {name: text["length"] for name, text in ran.document["texts"].items()} == {"output": 3, "stderr": 3}


def test_a_task_that_fails_gives_its_exception_and_the_sentence_of_the_page(celery_app):
    @celery_app.task(name="failing", shared=False)
    def failing(error):
        raise error

    ran = run_task(failing, [ValueError("secret")])
    assert (ran.state, ran.reason) == ("failed", "The task stopped on an unexpected error (ValueError).")
    assert isinstance(ran.exception, ValueError)
    assert "secret" in str(ran)
    assert run_task(failing, [TaskFailure("This is no CSV file.")]).reason == "This is no CSV file."


def test_retries_are_further_runs_and_the_hooks_of_its_class_report_too(celery_app):
    class Reporting(celery_app.Task):
        def on_success(self, retval, task_id, args, kwargs):
            progress.log(f"on_success {retval}")

        def after_return(self, status, *_):
            progress.log(f"after_return {status}")

    @celery_app.task(name="retrying", base=Reporting, bind=True, shared=False)
    def retrying(self):
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return "done"

    ran = run_task(retrying)
    assert ran.states == ["queued", "running", "retrying", "running", "retrying", "running", "succeeded"]
    assert ran.document["run"] == 3
    assert ran.logs[-2:] == ["on_success done", "after_return SUCCESS"]


def test_somebody_cancels_it_after_an_event(celery_app):
    @celery_app.task(name="cleaning", shared=False)
    def cleaning():
        try:
            for _ in track(range(1000)):
                pass
        finally:
            progress.log("cleaned up")

    began = time.perf_counter()
    ran = run_task(cleaning, cancel_when=lambda event: event.progress and event.progress["completed"] == 3)
    # Celery's own record of it isn't written: its backend isn't there.
    assert time.perf_counter() - began < 1.0
    assert ran.states == ["queued", "running", "cancelling", "cancelled"]
    assert ran.logs == ["cleaned up"]
    assert ran.progress["completed"] == 4
    assert ran.exception is None


def test_celerys_own_record_is_written_nowhere_and_its_backend_comes_back(celery_app):
    @celery_app.task(name="recording", bind=True, shared=False)
    def recording(self):
        self.update_state(state="PROGRESS", meta={"current": 1, "total": 2})
        return type(self.backend).__name__

    own = recording.backend
    with ThreadPoolExecutor(5) as pool:
        ran = list(pool.map(lambda _: run_task(recording), range(20)))
    assert [(each.state, each.value) for each in ran] == [("succeeded", "DisabledBackend")] * 20
    assert recording.backend is own


def test_threads_of_a_task_and_tasks_in_threads_do_not_mix(celery_app):
    @celery_app.task(name="threaded", shared=False)
    def threaded(name):
        threads = [threading.Thread(target=progress.wrap(progress.log), args=(f"{name} {n}",)) for n in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    found = {}

    def run(name):
        found[name] = run_task(threaded, [name]).logs

    callers = [threading.Thread(target=run, args=(f"task {n}",)) for n in range(10)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert {name: sorted(logs) for name, logs in found.items()} == {
        f"task {m}": [f"task {m} {n}" for n in range(5)] for m in range(10)
    }


def test_two_applications_of_a_process_each_hear_of_their_own_tasks(report):
    app = Celery("second", broker=NOWHERE, set_as_current=False)
    init_celery(app)

    @app.task(name="second", shared=False)
    def second():
        return run_task(report, [2]).state

    assert (run_task(second).value, run_task(second).state) == ("succeeded", "succeeded")
    assert run_task(report, [2]).state == "succeeded"


def test_a_very_long_loop_keeps_what_a_page_would_be_shown_of_it(report):
    ran = run_task(report, [12_000])
    assert len(ran.counters) == 10_000
    assert ran.counters[-1]["completed"] == 12_000


def test_what_cannot_be_run_is_refused_with_a_sentence(report):
    app = Celery("stranger", broker=NOWHERE, set_as_current=False)

    @app.task(name="strange", shared=False)
    def strange():
        pass

    with pytest.raises(PetioleError, match="init_celery wasn't called for the Celery application of strange"):
        run_task(strange)
    for wrong in (len, group([report.s(1), report.s(2)])):
        with pytest.raises(PetioleError, match="isn't a task"):
            run_task(wrong, [[]])
    for wrong in (20, "20"):
        with pytest.raises(PetioleError, match="Pass a list of them"):
            run_task(report, wrong)
    assert run_task(report.s(4)).value == run_task(report, kwargs={"rows": 4}).value == {"rows": 4}


def test_what_the_documentation_shows_works_in_a_strangers_project(tmp_path):
    conftest, tasks, tests, *more = code_blocks(ROOT / "docs" / "testing.md", "python")
    (tmp_path / "conftest.py").write_text(conftest, encoding="utf-8")
    (tmp_path / "tasks.py").write_text(tasks, encoding="utf-8")
    for number, text in enumerate(more):
        (tmp_path / f"test_more_{number}.py").write_text(text, encoding="utf-8")
    failing = "def test_that_fails(petiole_run):\n    assert petiole_run(report, [1812]).state == 'succeeded'\n"
    (tmp_path / "test_report.py").write_text(f"{tests}\n\n{failing}", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:valkey", "-p", "no:xdist"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "6 passed" in done.stdout, done.stdout + done.stderr
    assert "1 failed" in done.stdout
    assert "failed: Choose a year from 1900 on." in done.stdout
