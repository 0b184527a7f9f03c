"""Tasks that are published again, continue as other tasks, call themselves, or report from outside their own call."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import Task, chain, chord, group, shared_task

from petiole import progress

NAMES = "tests.apps.worker_app"


def note(file: str, text: str) -> None:
    """Write a line into a file, in one piece."""
    with open(file, "a") as output:
        output.write(text + "\n")


@shared_task(name=f"{NAMES}.sync_account", progress=True)
def sync_account(file: str, fails: bool = False) -> int:
    note(file, "run")
    progress.log(f"run {len(Path(file).read_text().splitlines())}")
    if fails:
        raise ValueError("swordfish")
    return len(Path(file).read_text().splitlines())


@shared_task(name=f"{NAMES}.add_line", progress=True)
def add_line(before: int, file: str) -> int:
    note(file, "line")
    progress.log(f"after {before}")
    return before + 1


@shared_task(name=f"{NAMES}.add_all", progress=False)
def add_all(numbers: list[int], file: str) -> int:
    note(file, "body")
    return sum(numbers)


@shared_task(name=f"{NAMES}.be_replaced_by_a_chain", bind=True)
def be_replaced_by_a_chain(self: Task, file: str) -> None:
    raise self.replace(chain(add_line.s(0, file), add_line.s(file), add_line.s(file)))


@shared_task(name=f"{NAMES}.be_replaced_by_a_broken_chain", bind=True)
def be_replaced_by_a_broken_chain(self: Task, file: str) -> None:
    raise self.replace(chain(sync_account.si(file, True), add_line.si(0, file)))


@shared_task(name=f"{NAMES}.be_replaced_by_a_group", bind=True)
def be_replaced_by_a_group(self: Task, file: str) -> None:
    raise self.replace(group(add_line.s(0, file), add_line.s(1, file)))


@shared_task(name=f"{NAMES}.be_replaced_by_a_chord", bind=True)
def be_replaced_by_a_chord(self: Task, file: str) -> None:
    raise self.replace(chord([add_line.s(0, file), add_line.s(1, file)], add_all.s(file)))


@shared_task(name=f"{NAMES}.publish_itself_again", bind=True, progress=True)
def publish_itself_again(self: Task, file: str) -> int:
    """A task that schedules its own next execution, under the same id."""
    note(file, "run")
    times = len(Path(file).read_text().splitlines())
    if times < 3:
        self.apply_async((file,), task_id=self.request.id)
    progress.log(f"time {times}")
    return times


@shared_task(name=f"{NAMES}.retry_late", bind=True, max_retries=3)
def retry_late(self: Task, file: str, countdown: float) -> str:
    note(file, f"attempt {self.request.retries}")
    if self.request.retries < 2:
        raise self.retry(countdown=countdown)
    return f"attempt {self.request.retries}"


@shared_task(name=f"{NAMES}.walk")
def walk(depth: int, file: str) -> int:
    """Call itself, as in walking a tree."""
    note(file, f"depth {depth}")
    progress.log(f"depth {depth}")
    return 0 if depth == 0 else walk(depth - 1, file) + 1


@shared_task(name=f"{NAMES}.walk_by_run", bind=True)
def walk_by_run(self: Task, depth: int) -> int:
    progress.log(f"depth {depth}")
    return 0 if depth == 0 else self.run(depth - 1) + 1


@shared_task(name=f"{NAMES}.walk_by_another")
def walk_by_another(depth: int, file: str) -> int:
    return walk(depth, file)


class Speaking(Task):
    """A base class that reports in every method that Celery calls."""

    abstract = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        progress.log("call")
        result = super().__call__(*args, **kwargs)
        progress.log("called")
        return result

    def before_start(self, *_: Any) -> None:
        progress.log("before_start")

    def on_success(self, *_: Any) -> None:
        progress.log("on_success")

    def on_failure(self, *_: Any) -> None:
        progress.log("on_failure")

    def on_retry(self, *_: Any) -> None:
        progress.log("on_retry")

    def after_return(self, *_: Any) -> None:
        progress.log("after_return")


@shared_task(name=f"{NAMES}.speak_everywhere", base=Speaking, bind=True)
def speak_everywhere(self: Task, how: str) -> str:
    progress.log("run")
    if how == "fail":
        raise ValueError("swordfish")
    if how == "retry" and not self.request.retries:
        raise self.retry(countdown=1)
    return str(os.getpid())


class Past(Task):
    """A task class that replaces the call, and never reaches `run`."""

    abstract = True

    def __call__(self, *args: Any, **_: Any) -> Any:
        progress.log("its own call")
        return args


@shared_task(name=f"{NAMES}.replace_the_call", base=Past)
def replace_the_call(number: int) -> int:
    return number
