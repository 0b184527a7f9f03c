"""Tasks that run coroutines, threads and libraries' callbacks: what each says is its own task's, and each ends as it should."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from celery import Celery

from petiole import Fenced, TaskFailure, init_celery, progress
from petiole.dispatch.error_groups import ended_in
from petiole.dispatch.outcome import failed
from petiole.errors import Cancelled
from petiole.testing import run_task
from petiole.worker.run import current_run
from tests.support.examples import ROOT, code_blocks

STEPS = 5


@pytest.fixture(scope="module")
def celery_app():
    app = Celery("coroutines", broker="redis://127.0.0.1:1/0", set_as_current=False)
    init_celery(app)
    return app


async def work(name):
    for step in range(STEPS):
        progress.log(f"{name} {step}")
        progress.write(f"{name}.{step} ")
        progress.advance()
        await asyncio.sleep(0)


@pytest.fixture(scope="module")
def fan_out(celery_app):
    @celery_app.task(name="fan_out", shared=False)
    def fan_out(name, coroutines, error=None):
        async def fail():
            await asyncio.sleep(0)
            raise error

        async def main():
            async with asyncio.TaskGroup() as group:
                for number in range(coroutines):
                    group.create_task(work(f"{name}/{number}"))
                if error is not None:
                    group.create_task(fail())

        progress.stage("Fan out", total=coroutines * STEPS)
        asyncio.run(main())

    return fan_out


def by_speaker(lines):
    """The steps of each coroutine in the order in which they were said."""
    steps = {}
    for line in lines:
        name, _, step = line.partition(" ")
        steps.setdefault(name, []).append(int(step))
    return steps


def test_a_hundred_coroutines_of_a_task_all_count_and_each_keeps_its_order(fan_out):
    ran = run_task(fan_out, ["a", 100])
    assert by_speaker(ran.logs) == {f"a/{number}": list(range(STEPS)) for number in range(100)}
    assert (ran.progress["completed"], ran.progress["fraction"]) == (100 * STEPS, 1.0)
    assert len(ran.text().split()) == 100 * STEPS


def test_a_hundred_coroutines_of_twenty_tasks_at_once_never_mix(fan_out):
    with ThreadPoolExecutor(20) as pool:
        ran = list(pool.map(lambda name: (name, run_task(fan_out, [name, 5])), (f"task{n}" for n in range(20))))
    for name, recording in ran:
        assert by_speaker(recording.logs) == {f"{name}/{number}": list(range(STEPS)) for number in range(5)}
        assert {part.partition("/")[0] for part in recording.text().split()} == {name}
        assert recording.progress["completed"] == 5 * STEPS


def test_a_hundred_tasks_in_the_coroutines_of_one_loop_never_mix(fan_out, celery_app):
    @celery_app.task(name="said_in_turn", shared=False)
    def said_in_turn(name):
        for step in range(STEPS):
            progress.log(f"{name} {step}")
            progress.advance()

    async def main():
        async def run(name):
            return name, await asyncio.to_thread(run_task, said_in_turn, [name])

        return await asyncio.gather(*(run(f"task{number}") for number in range(100)))

    for name, recording in asyncio.run(main()):
        assert by_speaker(recording.logs) == {name: list(range(STEPS))}
        assert recording.progress["completed"] == STEPS


def test_a_cancel_ends_a_task_group_and_the_task_is_cancelled(fan_out):
    ran = run_task(fan_out, ["a", 10], cancel_when=lambda event: event.progress and event.progress["completed"] == 12)
    assert ran.states == ["queued", "running", "cancelling", "cancelled"]
    assert ran.exception is None
    assert ran.progress["completed"] < 10 * STEPS


def test_what_else_coroutines_raise_while_they_are_cancelled_is_logged(celery_app, caplog):
    @celery_app.task(name="untidy", shared=False)
    def untidy():
        async def clean_up_badly():
            try:
                await asyncio.sleep(30)
            finally:
                raise ValueError("the clean-up has failed")

        async def main():
            async with asyncio.TaskGroup() as group:
                group.create_task(clean_up_badly())
                await asyncio.sleep(0)
                group.create_task(work("a"))

        asyncio.run(main())

    ran = run_task(untidy, cancel_when=lambda event: event.kind == "log")
    assert ran.state == "cancelled"
    assert "the clean-up has failed" in caplog.text


@pytest.mark.parametrize(
    ("error", "reason", "kind"),
    [
        (TaskFailure("This is no CSV file."), "This is no CSV file.", "TaskFailure"),
        (ValueError("secret"), "The task stopped on an unexpected error (ValueError).", "ValueError"),
    ],
)
def test_the_only_error_of_a_task_group_is_the_tasks_own(fan_out, error, reason, kind):
    ran = run_task(fan_out, ["a", 2, error])
    assert (ran.state, ran.reason) == ("failed", reason)
    assert ran.document["error"]["type"] == kind
    assert isinstance(ran.exception, ExceptionGroup)


def test_failures_that_are_meant_to_be_read_are_read_together_and_others_are_not_shown():
    def reason(*errors):
        return failed(ExceptionGroup("several", list(errors)), task_id="a", now=0)["reason"]

    assert reason(TaskFailure("No file."), TaskFailure("No rows."), TaskFailure("No file.")) == "No file. No rows."
    unexpected = "The task stopped on an unexpected error (ExceptionGroup)."
    assert reason(TaskFailure("No file."), ValueError("secret")) == unexpected
    assert reason(ExceptionGroup("inner", [TaskFailure("No file.")])) == "No file."


def test_a_later_run_goes_before_a_cancel():
    fenced = Fenced("A later run has begun.")
    assert ended_in(BaseExceptionGroup("ends", [Cancelled("c"), BaseExceptionGroup("inner", [fenced])])) is fenced
    assert ended_in(BaseExceptionGroup("ends", [KeyboardInterrupt()])) is None
    assert ended_in(ValueError()) is None


def test_a_library_that_makes_its_own_threads_and_calls_back_reports_for_the_task(celery_app):
    class Library:
        """Calls back in threads of its own: a function, a coroutine function, the methods of an object."""

        def call(self, function):
            thread = threading.Thread(target=function)
            thread.start()
            thread.join(10)

        def call_async(self, function):
            self.call(lambda: asyncio.run(function()))

    after = []

    @celery_app.task(name="with_library", shared=False)
    def with_library():
        here, library = progress.bound(), Library()
        library.call(here(lambda: progress.log("bound")))
        library.call(progress.wrap(lambda: progress.log("wrapped")))

        @here
        async def later():
            await asyncio.sleep(0)
            progress.log("later")

        library.call_async(later)

        def callback():
            with here:
                progress.log("within")
                with here:
                    progress.advance()
                progress.log("still within")
            after.append(current_run.get())

        library.call(callback)

        async def main():
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, here(lambda: progress.log("in an executor")))
            await asyncio.to_thread(progress.log, "in a thread")
            loop.call_soon(progress.log, "by the loop")
            asyncio.get_running_loop().call_soon_threadsafe(progress.log, "from elsewhere")
            await asyncio.sleep(0)

        asyncio.run(main())

        async def elsewhere():
            progress.log("in another thread's loop")

        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        asyncio.run_coroutine_threadsafe(elsewhere(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()

    said = ["bound", "wrapped", "later", "within", "still within"]
    said += ["in an executor", "in a thread", "by the loop", "from elsewhere", "in another thread's loop"]
    ran = run_task(with_library)
    assert ran.logs == said
    assert ran.progress["completed"] == 1
    assert after == [None]


def test_coroutines_within_one_block_each_do_not_leave_it_to_the_others(celery_app):
    @celery_app.task(name="held", shared=False)
    def held(name, gate):
        here = progress.bound()

        async def one(number):
            with here:
                await asyncio.sleep(0)
                progress.log(f"{name} {number}")
            await asyncio.sleep(0)

        def elsewhere():
            async def main():
                await asyncio.gather(*(one(number) for number in range(10)))

            asyncio.run(main())

        gate.wait(10)
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join(10)

    gate = threading.Barrier(10)
    with ThreadPoolExecutor(10) as pool:
        ran = list(pool.map(lambda name: (name, run_task(held, [name, gate])), "abcdefghij"))
    for name, recording in ran:
        assert sorted(recording.logs) == [f"{name} {number}" for number in range(10)]


def test_all_hooks_of_a_tasks_class_report_for_it_threads_of_theirs_too(celery_app):
    class Reporting(celery_app.Task):
        def said(self, what):
            progress.log(what)
            thread = threading.Thread(target=progress.wrap(progress.log), args=(f"{what} in a thread",))
            thread.start()
            thread.join(10)

        def before_start(self, *_):
            self.said("before_start")

        def on_success(self, *_):
            self.said("on_success")

        def on_failure(self, *_):
            asyncio.run(self.later())

        def after_return(self, *_):
            self.said("after_return")

        async def later(self):
            progress.log("on_failure")

    @celery_app.task(name="hooked", base=Reporting, shared=False)
    def hooked(error):
        if error:
            raise ValueError(error)

    both = [["before_start", "before_start in a thread"], ["after_return", "after_return in a thread"]]
    assert run_task(hooked, [""]).logs == [*both[0], "on_success", "on_success in a thread", *both[1]]
    assert run_task(hooked, ["secret"]).logs == [*both[0], "on_failure", *both[1]]


def test_outside_a_task_a_bound_does_nothing():
    here = progress.bound()
    with here:
        progress.log("nobody hears it")
    assert here(len) is len


def test_what_the_documentation_shows_works(celery_app):
    class Model:
        def fit(self, epochs, callbacks):
            def train():
                for epoch in range(epochs):
                    callbacks[0].on_epoch_end(epoch, 1 / (epoch + 1))

            thread = threading.Thread(target=train)
            thread.start()
            thread.join(10)

    shown = [
        block
        for block in code_blocks(ROOT / "docs" / "worker.md", "python")
        if "def fit(" in block or "fetch_all" in block
    ]
    names = {"celery_app": celery_app, "progress": progress, "__name__": "documented"}
    for block in shown:
        exec(block, names)
    fitted, fetched = run_task(names["fit"], [Model()]), run_task(names["fetch_all"], [["/a", "/b", "/c"]])
    assert fitted.logs[:2] == ["epoch 0: loss 1.000", "epoch 1: loss 0.500"]
    assert fitted.progress["completed"] == 10
    assert fetched.logs == ["fetching /a", "fetching /b", "fetching /c"]
    assert fetched.progress["fraction"] == 1.0
