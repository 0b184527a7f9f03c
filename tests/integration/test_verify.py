"""`petiole verify` reads a task's facts and texts and checks them against the receipt; `petiole text` prints a text."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.system import System


def verify(system: System, task_id: str, *, prefix: str = "petiole") -> subprocess.CompletedProcess[str]:
    return petiole(system, "verify", task_id, prefix=prefix)


def petiole(system: System, *words: str, prefix: str = "petiole") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "petiole.cli", *words, "--journal-url", system.redis_url],
        env={**system.environment, "PETIOLE_KEY_PREFIX": prefix, "PATH": ""},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture
def task_id(system: System) -> str:
    view = system.client("ann").start("/start/count", {"args": [1200]})
    view.wait(timeout=30)
    return view.feed.removeprefix("task:")


def test_a_finished_task_is_verified_against_its_receipt(system: System, task_id: str) -> None:
    done = verify(system, task_id)
    view = system.client("ann").watch(f"task:{task_id}")
    view.wait(timeout=10)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"task:{task_id}: succeeded, 1,204 of 1,204 facts, receipt {view.receipt.chain}\n"


def test_a_fact_that_was_changed_in_the_journal_is_found(system: System, task_id: str) -> None:
    client = system.redis()
    (key,) = client.scan_iter(f"*task:{task_id}:facts", count=1000)
    fact = client.lindex(key, 700)
    # A head of 14 bytes, one byte with the length of its id, and the id.
    client.lset(key, 700, fact[:15] + (b"1" if fact[15:16] == b"0" else b"0") + fact[16:])
    done = verify(system, task_id)
    assert done.returncode == 1
    assert "can't be checked" in done.stderr


def test_an_unknown_task_and_a_wrong_prefix_are_a_sentence(system: System, task_id: str) -> None:
    for done in (verify(system, "nothing"), verify(system, task_id, prefix="elsewhere")):
        assert done.returncode == 1
        assert "The journal has no task" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_task_that_has_written_is_verified_byte_by_byte(system: System) -> None:
    view = system.client("ann").start("/start/write_texts", {"args": [300]})
    view.wait(timeout=30)
    assert view.receipt is not None
    task_id = view.feed.removeprefix("task:")
    done = verify(system, task_id)
    assert done.returncode == 0, done.stderr
    told = {
        name: f"{text.length:,} of {text.length:,} bytes, sha256 {text.sha256}"
        for name, text in view.receipt.texts.items()
    }
    assert done.stdout.splitlines()[1:] == [f"text log: {told['log']}", f"text output: {told['output']}"]
    printed = petiole(system, "text", task_id)
    assert (printed.stdout, printed.returncode) == (view.text(), 0)
    assert petiole(system, "text", task_id, "log").stdout == view.text("log")
    none = petiole(system, "text", task_id, "../meta")
    assert (none.returncode, none.stdout) == (1, "")
    assert "no text ../meta" in none.stderr

    client = system.redis()
    (key,) = client.scan_iter(f"*{view.feed}:text:log", count=1000)
    client.setrange(key, 0, b"L")
    done = verify(system, task_id)
    assert done.returncode == 1
    assert "Not what the task has written: log." in done.stderr
    assert "Traceback" not in done.stderr
