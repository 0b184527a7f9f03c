"""Tasks that start processes and threads, which report too."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import billiard
from celery import shared_task

from petiole import progress, track

NAMES = "tests.apps.worker_app"
METHODS = ("fork", "spawn", "forkserver")
CHILDREN = 8
SAID_BY_EACH = 20


def speak(name: str) -> int:
    """Make the progress calls of a task, from any thread or process, and return."""
    progress.stage(name)
    for number in track(range(SAID_BY_EACH)):
        progress.log(f"{name} {number}")
        progress.advance()
    progress.emit("done", name)
    return 7


def by_fork() -> int:
    process = os.fork()
    if process == 0:
        speak("child")
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def exit_with_seven() -> None:
    os._exit(speak("child"))


def by_process(context: Any) -> int:
    process = context.Process(target=exit_with_seven)
    process.start()
    process.join(30)
    return process.exitcode


def by_executor(method: str) -> int:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        return pool.submit(speak, "child").result(timeout=30)


WAYS: dict[str, Callable[[], int]] = {
    "os.fork": by_fork,
    "billiard": lambda: by_process(billiard),
    **{
        method: lambda method=method: by_process(multiprocessing.get_context(method))
        for method in ("fork", "spawn", "forkserver")
    },
    **{f"executor, {method}": lambda method=method: by_executor(method) for method in ("fork", "spawn", "forkserver")},
}


@contextmanager
def allowed_children() -> Iterator[None]:
    """Allow this process to have children: those of a prefork pool are daemons, to which multiprocessing allows none."""
    config = multiprocessing.current_process()._config
    before, config["daemon"] = config.get("daemon"), False
    try:
        yield
    finally:
        config["daemon"] = before


@shared_task(name=f"{NAMES}.fork_and_speak")
def fork_and_speak(way: str, children: int) -> list[int]:
    """Report while children do, and return their exit codes."""
    codes = []
    for child in range(children):
        for number in range(SAID_BY_EACH):
            progress.log(f"{child}.{number}")
            progress.advance()
        with allowed_children():
            codes.append(WAYS[way]())
    progress.log("all have ended")
    return codes


@shared_task(name=f"{NAMES}.speak_by_joblib")
def speak_by_joblib(backend: str) -> list[str]:
    """Report while joblib's processes do, and return the process of each call."""
    import joblib  # of this test alone

    here = os.getpid()
    progress.log("before")
    calls = [joblib.delayed(speak_from)(f"call {number}", here) for number in range(CHILDREN)]
    # joblib's `multiprocessing` gives all results at once.
    as_they_come = "list" if backend == "multiprocessing" else "generator"
    found = []
    for number, process in enumerate(track(joblib.Parallel(n_jobs=2, backend=backend, return_as=as_they_come)(calls))):
        progress.log(f"result {number}")
        found.append(process)
    return found


def speak_from(name: str, task: int) -> str:
    speak(name)
    return "own" if os.getpid() == task else str(os.getpid())


@shared_task(name=f"{NAMES}.fork_and_start", progress=True)
def fork_and_start(file: str) -> int:
    """Start another task from a child process."""
    from tests.apps.delivery_tasks import sync_account

    process = os.fork()
    if process == 0:
        sync_account.delay(file)
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@shared_task(name=f"{NAMES}.speak_from_threads")
def speak_from_threads(wrapped: bool) -> int:
    work = progress.wrap(speak_shortly) if wrapped else speak_shortly
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(20)))
    thread = threading.Thread(target=work, args=(20,))
    thread.start()
    thread.join()
    return 21


def speak_shortly(number: int) -> None:
    progress.log(f"thread {number}")
    progress.advance()
