"""The worker of a fault run: its tasks record each fact after the call has returned."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celery import Task

from chaos.broker import make_celery
from chaos.clock import shift_clock
from chaos.disk import obey_orders
from chaos.history import record
from chaos.resources import waited_for_cpu
from chaos.tables import DATABASE, FILES
from chaos.without import journal_class, switch_off
from petiole import init_celery, progress
from petiole.exports.task import export_selection
from petiole.journal.answers import Appended, Duplicate, Stored
from petiole.journal.contract import PendingAppend
from petiole.protocol.events import Draft
from petiole.worker.run import current_run

# How slow the disk is in `export`: if a run publishes without `confirm`, slow enough for a cancel to come in between.
SYNC = 0.12 if os.environ.get("CHAOS_WITHOUT") == "confirm" else 0.03

shift_clock()
switch_off()
celery_app = make_celery("chaos")
if not os.environ.get("CHAOS_PLAIN"):
    init_celery(celery_app)


@dataclass(frozen=True)
class Recorded:
    """An append that was sent; the thread that gets its answer records it."""

    begun: PendingAppend
    note: Callable[[Appended], Appended]

    def __call__(self) -> Appended:
        return self.note(self.begun())

    def poll(self) -> Appended | None:
        reply = self.begun.poll()
        return None if reply is None else self.note(reply)


def _record_acknowledgements() -> None:
    """Record every fact of the tasks once the journal has acknowledged it."""
    kind = journal_class()
    append = kind.append
    append_async: Any = getattr(kind, "append_async", None)

    def note(reply: Appended, feed: str, draft: Draft, run: int) -> Appended:
        is_ours = draft.kind == "custom" and draft.data["name"] == "said"
        if is_ours and isinstance(reply, Stored | Duplicate):
            record("acknowledged", feed=feed, run=run, said=_said(draft.data["data"]), at=time.monotonic())
        return reply

    def recorded(self: Any, feed: str, draft: Draft, *, run: int = 0, **numbers: Any) -> Appended:
        return note(append(self, feed, draft, run=run, **numbers), feed, draft, run)

    def recorded_later(self: Any, feed: str, draft: Draft, *, run: int = 0, **numbers: Any) -> PendingAppend | None:
        begun = append_async(self, feed, draft, run=run, **numbers)
        return None if begun is None else Recorded(begun, lambda reply: note(reply, feed, draft, run))

    kind.append = recorded
    if append_async is not None:
        kind.append_async = recorded_later


def _said(data: Any) -> Any:
    return data["said"] if isinstance(data, dict) else data


_record_acknowledgements()
if os.environ.get("CHAOS_EXPORTS"):
    obey_orders()


@contextmanager
def body(number: int) -> Iterator[int]:
    """Record when this run's body begins and ends, and how; yields the run's number."""
    current = current_run.get()
    run = current.number if current is not None else 0
    feed = current.feed if current is not None else ""
    record("body", task=number, run=run, feed=feed, begin=time.monotonic(), pid=os.getpid(), worker=os.getppid())
    how = "returned"
    try:
        yield run
    except BaseException as error:
        how = type(error).__name__
        raise
    finally:
        record("body", task=number, run=run, end=time.monotonic(), how=how)


# Of one to four bytes each, joined and right to left.
WORDS = ("word ", "zwölf ", "三 ", "👩\u200d👧 ", "שלום ", "</b>\n")


def write_piece(number: int, run: int, fact: int) -> None:
    """Write a piece of the task's text; it is recorded first, so that nobody can have seen more than is recorded."""
    words = random.Random(f"{number}.{run}.{fact}").choices(WORDS, k=3)
    piece = f"{number}.{run}.{fact} {''.join(words)}"
    record("wrote", task=number, run=run, text=piece)
    progress.write(piece)


def talk(number: int, count: int, interval: float, padding: int) -> dict[str, float]:
    """Emit `count` numbered facts, one every `interval` seconds, write a piece of text before each, and count along."""
    slowest = hiccup = 0.0
    began = time.monotonic()
    with body(number) as run:
        progress.stage("Saying", total=count, unit="facts")
        for fact in range(count):
            starved = waited_for_cpu()
            before = time.monotonic()
            write_piece(number, run, fact)
            progress.emit("said", {"said": fact, "padding": "x" * padding} if padding else fact)
            progress.advance()
            now = time.monotonic()
            # A call that waits for journal or bus isn't runnable, so this subtracts only the delay of the machine.
            slowest = max(slowest, now - before - (waited_for_cpu() - starved))
            record("said", task=number, run=run, said=fact, at=now)
            due = max(began + (fact + 1) * interval, time.monotonic())
            time.sleep(max(due - time.monotonic(), 0.0))
            # How late the machine wakes a process that only sleeps: that part of an emit call is the machine's.
            hiccup = max(hiccup, time.monotonic() - due)
    return {"slowest": slowest, "hiccup": hiccup, "took": time.monotonic() - began}


@celery_app.task  # type: ignore[untyped-decorator]
def say(number: int, count: int, interval: float, padding: int = 0) -> dict[str, float]:
    """Emit facts; acknowledged early."""
    return talk(number, count, interval, padding)


@celery_app.task  # type: ignore[untyped-decorator]
def say_and_fork(number: int, count: int, interval: float) -> None:
    """Emit facts, and fork a child at every tenth, which emits too."""
    with body(number) as run:
        for fact in range(count):
            write_piece(number, run, fact)
            progress.emit("said", fact)
            progress.advance()
            record("said", task=number, run=run, said=fact, at=time.monotonic())
            if fact % 10 == 0:
                child = os.fork()
                if child == 0:
                    for word in range(5):
                        progress.write("a child's")
                        progress.emit("said", f"{number}.{fact}.{word}")
                    os._exit(0)
                os.waitpid(child, 0)
                record("forked", task=number, child=child)
            time.sleep(interval)


@celery_app.task  # type: ignore[untyped-decorator]
def work(seconds: float) -> str:
    """Emit nothing."""
    time.sleep(seconds)
    return "done"


@celery_app.task(acks_late=True)  # type: ignore[untyped-decorator]
def say_late(number: int, count: int, interval: float, padding: int = 0) -> dict[str, float]:
    """Emit facts; acknowledged late."""
    return talk(number, count, interval, padding)


@celery_app.task(acks_late=True)  # type: ignore[untyped-decorator]
def publish_late(number: int, count: int, interval: float) -> None:
    """Emit facts, then publish a file if this run may; acknowledged late."""
    talk(number, count, interval, 0)
    progress.confirm()
    current = current_run.get()
    record("published", task=number, run=current.number if current is not None else 0)


@celery_app.task(acks_late=True)  # type: ignore[untyped-decorator]
def kill_worker(number: int) -> None:
    """Kill the whole worker that runs this."""
    with body(number):
        progress.emit("said", 0)
        os.killpg(os.getpgid(0), signal.SIGKILL)


@celery_app.task  # type: ignore[untyped-decorator]
def poison(number: int, count: int, interval: float) -> None:
    """Emit facts, and between them values that an event can't carry unchanged."""
    deep: list[Any] = []
    for _ in range(1000):
        deep = [deep]
    values = [
        ("10 MB", "x" * 10_000_000),
        ("NaN", float("nan")),
        ("surrogates", "\ud800"),
        ("depth", deep),
        ("set", object()),
    ]
    with body(number) as run:
        for fact in range(count):
            if fact < len(values):
                progress.emit(values[fact][0], values[fact][1])
            write_piece(number, run, fact)
            progress.emit("said", fact)
            record("said", task=number, run=run, said=fact, at=time.monotonic())
            time.sleep(interval)


@celery_app.task  # type: ignore[untyped-decorator]
def export(number: int, directory: str) -> dict[str, Any]:
    """Really export a small table, on a slow disk."""
    current = current_run.get()
    key = current.feed.partition(":")[2] if current is not None else str(number)
    synced = os.fsync

    def slow(descriptor: Any) -> None:
        time.sleep(SYNC)
        synced(descriptor)

    os.fsync = slow  # type: ignore[assignment]
    try:
        return export_selection(
            {"table": "rows"},
            database=Path(directory) / DATABASE,
            directory=Path(directory) / FILES,
            key=key,
            filename="rows.csv",
            batch_rows=100,
            rows_per_second=None,
            kept_for=3600.0,
        )
    finally:
        os.fsync = synced


def be_child(task: Task, number: int, how: str) -> None:
    """Do what one of a group's children does: end, be killed (once, or each time), or be retried twice."""
    record("child", child=number, attempt=task.request.retries)
    if how == "kill" or (how == "kill once" and _is_first(number)):
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "retry" and task.request.retries < 2:
        raise task.retry(countdown=0.05)
    time.sleep(0.002)


def _is_first(number: int) -> bool:
    try:
        (Path(os.environ["CHAOS_HISTORY"]) / f"killed-{number}").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@celery_app.task(bind=True)  # type: ignore[untyped-decorator]
def child(self: Task, number: int, how: str) -> None:
    """Be a child; acknowledged early."""
    be_child(self, number, how)


@celery_app.task(bind=True, acks_late=True, reject_on_worker_lost=True)  # type: ignore[untyped-decorator]
def child_late(self: Task, number: int, how: str) -> None:
    """Be a child that is delivered again when its process dies."""
    be_child(self, number, how)
