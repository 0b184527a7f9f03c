"""Faults of exported files: a full disk, a death between two steps, downloads at the moment of expiry."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import resource
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from chaos.disk import give_orders
from chaos.resources import MIB, family
from chaos.scenarios.scenario import Scenario
from chaos.system import System
from chaos.tables import FILES, make_table
from petiole.exports.files.storage import MARK, STALE_AFTER, LocalStorage
from petiole.protocol.states import is_terminal
from tests.support.waiting import wait_until

PERSON = {"X-Person": "somebody"}
DISK = 8 * MIB
KEPT_FOR = 6.0
DOWNLOADERS = 6
CHUNK = 256 * 1024
# Every step between a file's first byte and its task's last event, and which process dies there.
STEPS = (
    ("after write", 1),
    ("before fsync", 1),
    ("after fsync", 1),
    ("after close", 1),
    ("after confirm", 1),
    ("before replace", 1),
    ("after replace", 1),
    ("before fsync", 2),
    ("before replace", 2),
    ("after replace", 2),
    ("after artifact", 1),
    ("after finish", 1),
)
OF_WORKERS = (("after replace", 1), ("after artifact", 1))


def ask(system: System, table: str) -> str:
    """Start an export as a page does, and return its task's id."""
    response = requests.post(f"{system.url()}/exports", json={"table": table}, headers=PERSON, timeout=10)
    response.raise_for_status()
    return str(response.json()["id"])


def end_of(system: System, task: str, *, timeout: float = 40) -> dict[str, Any]:
    """Wait for a task's end and return its document."""
    document: dict[str, Any] = {}

    def ended() -> bool:
        answer = requests.get(f"{system.url()}/petiole/tasks/{task}", headers=PERSON, timeout=10)
        document.update(answer.json()["document"])
        return is_terminal(document.get("state"))

    wait_until(ended, what=f"the export {task} has ended", timeout=timeout)
    return document


def fill_the_disk(system: System, _random: random.Random) -> str:
    """Export more than fits on the disk, and let the disk report it late: at fsync, at close, at the manifest."""
    make_table(system.directory, name="large", rows=3000, padding=4000)
    make_table(system.directory, name="small", rows=100)
    system.wait_for_workers()
    ends: list[tuple[str, dict[str, Any], int, list[str]]] = []
    with small_disk(system) as (files, disk):
        end_of(system, ask(system, "small"))
        kept, free = _names(files), _free(files)

        def try_one(how: str, table: str) -> None:
            document = end_of(system, ask(system, table))
            left = sorted(_names(files) - kept)
            ends.append((how, document, free - _free(files), left))

        try_one("at a write", "large")
        for step, nth, how in (
            ("before fsync", 1, "at fsync"),
            ("after close", 1, "at close"),
            ("before fsync", 2, "at the manifest's fsync"),
            ("after close", 2, "at the manifest's close"),
        ):
            give_orders(system.directory, step=step, nth=nth, what=errno.ENOSPC)
            try_one(how, "small")
        # With free space, it works again.
        give_orders(system.directory, step="", nth=0, what=0)
        again = end_of(system, ask(system, "small"))
    system.noted["ends"], system.noted["again"] = ends, again
    system.noted["own disk"] = disk.startswith("a disk")
    return f"{disk}; full {', '.join(how for how, *_ in ends)}"


@contextmanager
def small_disk(system: System) -> Iterator[tuple[Path, str]]:
    """Give the exports their own small disk; without the right to mount one, limit the size of files instead."""
    files = system.directory / FILES
    files.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0700", "tmpfs", str(files)]
    if os.geteuid() == 0 and subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        try:
            yield files, f"a disk of {DISK // MIB} MiB"
        finally:
            subprocess.run(["umount", str(files)], check=True)
        return
    for worker in system.workers.values():
        for pid in family(worker.popen.pid):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (DISK, DISK))
    yield files, f"files of at most {DISK // MIB} MiB (no disk can be mounted here)"


def _names(files: Path) -> set[str]:
    return set(os.listdir(files))


def _free(files: Path) -> int:
    found = os.statvfs(files)
    return found.f_bfree * found.f_frsize


def no_part_stays(system: System) -> list[str]:
    found = []
    for how, document, taken, left in system.noted["ends"]:
        sentence = str(document.get("reason") or "")
        if document["state"] != "failed":
            found.append(f"full {how}: the task is {document['state']}")
        elif "There is no room for the file." not in sentence:
            found.append(f"full {how}: the user is told {sentence!r}")
        if left:
            found.append(f"full {how}: {len(left)} files are left, such as {left[0]}")
        if taken and system.noted["own disk"]:
            found.append(f"full {how}: {taken} bytes weren't freed")
    if system.noted["again"]["state"] != "succeeded":
        found.append(f"with free space again, an export is {system.noted['again']['state']}")
    return found


def die_at_every_step(system: System, _random: random.Random) -> str:
    """Kill the pool child at each step of an export, and the whole worker at some."""
    make_table(system.directory)
    system.wait_for_workers()
    ends: dict[str, tuple[str, str]] = {}
    task = ask(system, "rows")
    ends[task] = ("nowhere", end_of(system, task)["state"])
    for step, nth in STEPS:
        give_orders(system.directory, step=step, nth=nth, what="child")
        task = ask(system, "rows")
        ends[task] = (f"{step} {nth}", end_of(system, task)["state"])
    for step, nth in STEPS if system.full else OF_WORKERS:
        give_orders(system.directory, step=step, nth=nth, what="worker")
        task = ask(system, "rows")
        wait_until(lambda: _dead_worker(system) is not None, what="the worker is killed", timeout=20)
        number = _dead_worker(system)
        assert number is not None
        system.processes.forget(system.workers.pop(number))
        system.start_worker(number)
        ends[task] = (f"{step} {nth}, worker", end_of(system, task)["state"])
        system.wait_for_workers()
    system.noted["ends"] = ends
    states = Counter(state for _, state in ends.values())
    return f"killed at {len(ends) - 1} steps, and one undisturbed: " + ", ".join(
        f"{count} {state}" for state, count in states.most_common()
    )


def _dead_worker(system: System) -> int | None:
    return next((number for number, worker in system.workers.items() if not worker.is_alive()), None)


def successes_have_good_files(system: System) -> list[str]:
    """Every file that can be opened is complete, each success can be opened, and after a sweep no other file is left."""
    found = []
    files = system.directory / FILES
    storage = LocalStorage(files)
    manifests = {name.removesuffix(".json") for name in _names(files) if name.endswith(".json")}
    for task in manifests:
        manifest, path = storage.open(task)
        if not path.exists():
            found.append(f"the file of {_where(system, task)} is described, and isn't there")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != manifest.sha256:
            found.append(f"the file of {_where(system, task)} has another checksum")
    for task, (_, state) in system.noted["ends"].items():
        response = requests.get(f"{system.url()}/exports/{task}/file", headers=PERSON, timeout=10)
        if state == "succeeded" and not response.ok:
            found.append(f"{_where(system, task)} succeeded, and its download answers {response.status_code}")
        elif state != "succeeded" and response.ok:
            found.append(f"{_where(system, task)} has {state}, and its file can be had")
    left = {name for name in _names(files) if name.startswith(".tmp-")}
    LocalStorage(files, clock=lambda: time.time() + STALE_AFTER + 60).sweep()
    stay = {name for name in _names(files) if name != MARK and name.partition(".")[0] not in manifests}
    found += [f"{name} would stay for ever" for name in sorted(stay)]
    system.noted["figure"] = f"{len(left)} temporary files were left, {len(stay)} after a sweep"
    return found


def _where(system: System, task: str) -> str:
    return f"the export killed {system.noted['ends'].get(task, ('never', ''))[0]}"


@dataclass(frozen=True)
class Answer:
    """One download: when it was requested and answered (ms since 1970), and its result."""

    asked: float
    answered: float
    status: int
    good: bool
    said: str


def download_at_expiry(system: System, rng: random.Random) -> str:
    """Download slowly from before a file's expiry until after it, while other exports sweep."""
    # More than the kernel's buffers between two processes, so that bodies are in transit for a while.
    make_table(system.directory, name="large", rows=5000, padding=4000)
    make_table(system.directory, name="small", rows=10)
    system.wait_for_workers()
    task = ask(system, "large")
    artifact = end_of(system, task)["artifacts"][0]
    expires_at = artifact["expires_at"]
    url = f"{{}}/exports/{task}/file"
    answers: list[Answer] = []
    lock = threading.Lock()

    def download(seed: int) -> None:
        mine = random.Random(seed)
        while time.time() * 1000 < expires_at + 1500:
            answer = _download(url.format(system.url(mine.randrange(2))), artifact["sha256"], mine)
            with lock:
                answers.append(answer)
            if answer.status != 200:
                time.sleep(0.02)

    def sweep() -> None:
        while time.time() * 1000 < expires_at + 1500:
            ask(system, "small")
            time.sleep(0.2)

    until = expires_at / 1000 - 2.5 - time.time()
    time.sleep(max(until, 0.0))
    threads = [threading.Thread(target=download, args=(rng.randrange(10**6),)) for _ in range(DOWNLOADERS)]
    threads.append(threading.Thread(target=sweep))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    system.noted["answers"], system.noted["expires_at"] = answers, expires_at
    system.noted["gone"] = not any((system.directory / FILES).glob(f"{task}.*"))
    across = sum(each.asked < expires_at < each.answered for each in answers)
    return f"{dict(Counter(each.status for each in answers))}, {across} under way when it expired"


def _download(url: str, sha256: str, rng: random.Random) -> Answer:
    """Read an answer in small parts, with pauses, so that its body is in transit for a while."""
    asked = time.time() * 1000
    body = hashlib.sha256()
    status, said = 0, ""
    try:
        with requests.get(url, headers=PERSON, stream=True, timeout=10) as response:
            status = response.status_code
            for part in response.iter_content(CHUNK):
                body.update(part)
                time.sleep(rng.uniform(0.0, 0.04))
    except requests.RequestException as error:
        said = type(error).__name__
    return Answer(asked, time.time() * 1000, status, not said and body.hexdigest() == sha256, said)


def whole_or_gone(system: System) -> list[str]:
    expires_at = system.noted["expires_at"]
    answers: list[Answer] = system.noted["answers"]
    found = []
    for each in answers:
        after = each.asked - expires_at
        if each.status == 200 and not each.good:
            found.append(f"a download asked for {after:+.0f} ms from expiry isn't whole {each.said}")
        elif each.status not in (200, 410):
            found.append(f"a download asked for {after:+.0f} ms from expiry: {each.status} {each.said}")
        elif each.status == 200 and after > 0:
            found.append(f"a download asked for {after:+.0f} ms from expiry was given")
        elif each.status == 410 and each.answered < expires_at:
            found.append(f"410 {-after:.0f} ms before expiry")
    if not system.without:
        if not any(each.asked < expires_at < each.answered and each.status == 200 for each in answers):
            found.append("no download was under way at expiry")
        if not system.noted["gone"]:
            found.append("the file is still on the disk")
    return found


SCENARIOS = (
    Scenario(
        27,
        "disk full while exporting",
        fill_the_disk,
        "unlink",
        required="no partial file, the space is freed, an error that says what to do",
        check=no_part_stays,
        load=None,
        settings={"CHAOS_EXPORTS": "1", "PETIOLE_EXPORTS_BATCH_ROWS": "200"},
    ),
    Scenario(
        28,
        "killed between two steps of a file",
        die_at_every_step,
        "described_last",
        required="each success has an intact file; no temporary file stays",
        check=successes_have_good_files,
        load=None,
        settings={
            "CHAOS_EXPORTS": "1",
            "PETIOLE_LEASE": "3",
            "PETIOLE_HEARTBEAT": "1",
            "PETIOLE_LOST_AFTER": "1",
        },
        workers=1,
    ),
    Scenario(
        29,
        "downloads at the moment of expiry",
        download_at_expiry,
        "stays_whole",
        required="the right checksum, or 410",
        check=whole_or_gone,
        load=None,
        settings={"CHAOS_EXPORTS": "1", "PETIOLE_EXPORTS_KEPT_FOR": str(KEPT_FOR)},
    ),
)
