from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from petiole.errors import Fenced, InvalidName
from petiole.exports.files.storage import STALE_AFTER, UNKNOWN_AFTER, FileExpired, FileMissing, LocalStorage

CONTENT = b"a,b\n1,2\n" * 1000


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
def storage(directory: Path, clock: Clock) -> LocalStorage:
    return LocalStorage(directory, clock=clock)


def publish(storage: LocalStorage, key: str = "k", content: bytes = CONTENT, *, still_valid: Callable = lambda: None):
    with storage.create(key) as draft:
        draft.write(content)
        return draft.publish(
            filename="flights.csv", rows=1000, media_type="text/csv", kept_for=60, still_valid=still_valid
        )


def everything(directory: Path) -> list[str]:
    return sorted(os.listdir(directory)) if directory.is_dir() else []


def test_a_published_file_is_found_with_its_manifest(storage, clock):
    written = publish(storage)
    manifest, path = storage.open("k")
    assert manifest == written
    assert path.read_bytes() == CONTENT
    assert manifest.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert (manifest.size, manifest.rows, manifest.filename) == (len(CONTENT), 1000, "flights.csv")
    assert manifest.created_at == 1_700_000_000_000
    assert manifest.expires_at == 1_700_000_060_000


def test_the_manifest_on_the_disk_is_plain_json(storage, directory):
    publish(storage)
    stored = json.loads((directory / "k.json").read_bytes())
    assert set(stored) == {"key", "filename", "size", "sha256", "rows", "media_type", "created_at", "expires_at"}


def test_only_the_owner_may_read_directory_and_files(storage, directory):
    publish(storage)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE((directory / name).stat().st_mode) for name in everything(directory)} == {0o600}


@pytest.mark.parametrize(
    "key", ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "a\n", "é", "x" * 129, "a\0b", None, 3]
)
def test_what_is_no_key_is_refused(storage, key):
    with pytest.raises(InvalidName):
        storage.open(key)
    with pytest.raises(InvalidName):
        storage.remove(key)
    with pytest.raises(InvalidName), storage.create(key):
        pass


@pytest.mark.parametrize("key", ["a", "x" * 128, "a.b~c@d-e_f", "a..b", "-", "a.json", "a.data"])
def test_every_key_can_have_a_file(storage, key):
    publish(storage, key)
    assert storage.open(key)[0].key == key


def test_keys_that_look_like_files_of_others_do_not_meet(storage):
    first = publish(storage, "a", b"first")
    for key in ("a.json", "a.data", f"a.{first.sha256}"):
        publish(storage, key, key.encode())
    assert storage.open("a")[1].read_bytes() == b"first"
    assert storage.open("a.json")[1].read_bytes() == b"a.json"


def test_the_steps_come_in_their_order(storage, monkeypatch):
    steps = []

    def note(name: str) -> None:
        real = getattr(os, name)

        def noted(*args):
            if name == "replace":
                steps.append(f"rename {Path(args[1]).suffix}")
            else:
                kind = "directory" if stat.S_ISDIR(os.fstat(args[0]).st_mode) else "file"
                steps.append(f"{name} {kind}")
            return real(*args)

        monkeypatch.setattr(os, name, noted)

    for name in ("write", "fsync", "close", "replace"):
        note(name)
    publish(storage, still_valid=lambda: steps.append("still valid?"))
    monkeypatch.undo()
    publication = ["write file", "fsync file", "close file", "still valid?", "rename .data", "fsync directory"]
    description = ["write file", "fsync file", "close file", "rename .json", "fsync directory"]
    # Each file's last step: its lock is given back.
    description = [*description[:4], "close file", description[4], "close file"]
    assert [step for step in steps if step != "close directory"] == publication + description


def test_nothing_can_be_found_while_the_caller_is_asked(storage):
    def ask() -> None:
        with pytest.raises(FileMissing):
            storage.open("k")

    publish(storage, still_valid=ask)
    assert storage.open("k")


@pytest.mark.parametrize("error", [Fenced("later run"), KeyboardInterrupt(), ValueError("no")])
def test_a_run_that_is_not_valid_any_more_publishes_nothing(storage, directory, error):
    def refuse() -> None:
        raise error

    with pytest.raises(type(error)):
        publish(storage, still_valid=refuse)
    assert everything(directory) == []


@pytest.mark.parametrize("error", [Fenced("later run"), GeneratorExit(), ValueError("no")])
def test_a_draft_that_is_given_up_is_gone(storage, directory, error):
    def give_up() -> None:
        with storage.create("k") as draft:
            draft.write(CONTENT)
            assert len(everything(directory)) == 1
            raise error

    with pytest.raises(type(error)):
        give_up()
    assert everything(directory) == []


def test_a_draft_that_is_not_published_is_gone(storage, directory):
    with storage.create("k") as draft:
        draft.write(CONTENT)
    assert everything(directory) == []


@contextmanager
def largest_file(size: int):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full_while_writing_leaves_nothing(storage, directory):
    with largest_file(4096), pytest.raises(OSError, match="File too large"):
        publish(storage)
    assert everything(directory) == []


def test_a_disk_that_is_full_at_the_manifest_leaves_nothing(storage, directory):
    with largest_file(64), pytest.raises(OSError, match="File too large"):
        publish(storage, content=b"small")
    assert everything(directory) == []


def fail_at(monkeypatch, name: str, call: int) -> None:
    real = getattr(os, name)
    calls = iter(range(1, 1000))

    def failing(*args):
        if name == "close":
            real(*args)
        if next(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        return None if name == "close" else real(*args)

    monkeypatch.setattr(os, name, failing)


STEPS = [
    ("write", 1),
    ("write", 2),
    *(("fsync", n) for n in (1, 2, 3, 4)),
    ("close", 1),
    ("replace", 1),
    ("replace", 2),
]


@pytest.mark.parametrize(("name", "call"), STEPS)
def test_a_disk_that_is_full_at_any_step_leaves_nothing(storage, directory, monkeypatch, name, call):
    fail_at(monkeypatch, name, call)
    with pytest.raises(OSError, match="No space left"):
        publish(storage)
    monkeypatch.undo()
    assert everything(directory) == []
    with pytest.raises(FileMissing):
        storage.open("k")


@pytest.mark.parametrize(("name", "call"), [step for step in STEPS if step != ("fsync", 4)])
def test_a_second_publication_that_fails_leaves_the_first(storage, directory, monkeypatch, name, call):
    for content in (b"second", CONTENT):
        publish(storage)
        before = everything(directory)
        fail_at(monkeypatch, name, call)
        with pytest.raises(OSError, match="No space left"):
            publish(storage, content=content)
        monkeypatch.undo()
        assert everything(directory) == before
        assert storage.open("k")[1].read_bytes() == CONTENT


def test_a_second_publication_replaces_the_first(storage, directory):
    publish(storage)
    publish(storage, content=b"second")
    manifest, path = storage.open("k")
    assert path.read_bytes() == b"second"
    assert manifest.sha256 == hashlib.sha256(b"second").hexdigest()
    assert len(everything(directory)) == 2


def test_bytes_that_are_being_read_stay_whole_through_a_second_publication(storage):
    publish(storage)
    _, path = storage.open("k")
    with path.open("rb") as file:
        publish(storage, content=b"second")
        assert file.read() == CONTENT


KILLED = """
import os, signal, sys
from pathlib import Path
from petiole.exports.files.storage import LocalStorage
name, call = sys.argv[2], int(sys.argv[3])
real, calls = getattr(os, name), iter(range(1, 1000))
def killing(*args):
    if next(calls) == call:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args)
setattr(os, name, killing)
with LocalStorage(Path(sys.argv[1])).create("k") as draft:
    draft.write(b"a,b\\n1,2\\n" * 1000)
    draft.publish(filename="f.csv", rows=1, media_type="text/csv", kept_for=60)
"""


@pytest.mark.parametrize(("name", "call"), STEPS)
def test_a_process_killed_at_any_step_leaves_a_whole_file_or_none(directory, clock, name, call):
    command = [sys.executable, "-c", KILLED, str(directory), name, str(call)]
    assert subprocess.run(command, check=False, timeout=60).returncode == -signal.SIGKILL
    storage = LocalStorage(directory)
    try:
        manifest, path = storage.open("k")
    except FileMissing:
        assert (name, call) != ("fsync", 4)
    else:
        assert (name, call) == ("fsync", 4)
        assert hashlib.sha256(path.read_bytes()).hexdigest() == manifest.sha256
    storage.sweep()
    late = LocalStorage(directory, clock=lambda: os.stat(directory).st_mtime + STALE_AFTER + 120)
    late.sweep()
    assert everything(directory) == []


def test_a_missing_file_is_said(storage):
    with pytest.raises(FileMissing, match="Export it again"):
        storage.open("k")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"key": "k"}', "[" * 100_000, '{"key": "../k", "sha256": 3}', "\udcff"]
)
def test_a_manifest_that_is_none_is_a_missing_file(storage, directory, text):
    publish(storage)
    (directory / "k.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(FileMissing):
        storage.open("k")


def test_a_manifest_under_another_key_is_a_missing_file(storage, directory):
    publish(storage)
    (directory / "k.json").rename(directory / "other.json")
    with pytest.raises(FileMissing):
        storage.open("other")


def test_a_file_ends_at_its_time(storage, clock):
    publish(storage)
    clock.now += 59.999
    assert storage.open("k")
    clock.now += 0.001
    with pytest.raises(FileExpired, match="Export it again"):
        storage.open("k")


def test_a_removed_file_is_gone_and_removing_it_again_does_nothing(storage, directory):
    publish(storage)
    storage.remove("k")
    storage.remove("k")
    assert everything(directory) == []


def test_a_file_that_another_run_has_published_is_not_removed(storage, clock):
    mine = publish(storage)
    clock.now += 1
    publish(storage)
    storage.remove("k", only=mine)
    assert storage.open("k")


def test_a_sweep_removes_what_has_expired_and_nothing_else(storage, directory, clock):
    publish(storage, "old")
    clock.now += 30
    publish(storage, "new")
    clock.now += 30
    assert storage.sweep() == 2
    assert [name.split(".")[0] for name in everything(directory)] == ["new", "new"]
    assert storage.sweep() == 0


def test_a_sweep_removes_what_a_dead_process_has_left_and_nothing_younger(storage, directory, clock):
    publish(storage)
    leavings = [".tmp-k-0123456789abcdef", f"k.{'0' * 64}.data"]
    for age, swept in ((STALE_AFTER - 1, 0), (STALE_AFTER, 2)):
        for name in leavings:
            (directory / name).write_bytes(b"partial")
            os.utime(directory / name, (clock.now - age,) * 2)
        assert storage.sweep() == swept
    assert storage.open("k")[1].read_bytes() == CONTENT


@pytest.mark.parametrize("step", ["while it is written", "while the run is confirmed", "before its manifest"])
def test_a_sweep_leaves_alone_what_a_process_still_writes_however_long_it_takes(
    storage, directory, clock, monkeypatch, step
):
    late = LocalStorage(directory, clock=lambda: os.stat(directory).st_mtime + 10 * UNKNOWN_AFTER)

    def sweep(*_: object) -> None:
        if not (directory / "k.json").exists():
            assert len(everything(directory)) == 1
            assert late.sweep() == 0

    if step == "before its manifest":
        monkeypatch.setattr("petiole.exports.files.storage.sync_directory", sweep)
    with storage.create("k") as draft:
        draft.write(CONTENT)
        if step == "while it is written":
            sweep()
        draft.publish(
            filename="f",
            rows=1,
            media_type="text/csv",
            kept_for=60,
            still_valid=sweep if step == "while the run is confirmed" else lambda: None,
        )
        monkeypatch.undo()
    assert storage.open("k")[1].read_bytes() == CONTENT


def test_without_locks_only_the_age_tells_what_was_left(storage, directory, clock, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    publish(storage)
    left = directory / ".tmp-k-0123456789abcdef"
    left.write_bytes(b"partial")
    for age, swept in ((UNKNOWN_AFTER - 1, 0), (UNKNOWN_AFTER, 1)):
        os.utime(left, (clock.now - age,) * 2)
        assert storage.sweep() == swept
    assert storage.open("k")


def test_what_can_not_be_removed_keeps_nothing_else(storage, directory, clock, caplog):
    publish(storage, "old")
    (directory / ".tmp-a-0").mkdir()
    (directory / "folder.json").mkdir()
    os.utime(directory / ".tmp-a-0", (clock.now - STALE_AFTER,) * 2)
    clock.now += 60
    assert storage.sweep() == 2
    assert everything(directory) == [".tmp-a-0", "folder.json"]
    assert "file_not_removed" in caplog.text


def test_a_directory_has_one_mark_and_a_sweep_keeps_it(storage, directory, clock, tmp_path):
    assert storage.mark(make=False) == ""
    with ThreadPoolExecutor(8) as pool:
        marks = {asked.result() for asked in [pool.submit(LocalStorage(directory).mark) for _ in range(16)]}
    assert marks == {storage.mark(make=False)}
    assert LocalStorage(tmp_path / "other").mark() not in marks
    clock.now += 10 * UNKNOWN_AFTER
    assert storage.sweep() == 0
    assert marks == {storage.mark(make=False)}


def test_a_directory_that_can_not_be_written_has_no_mark(tmp_path):
    (tmp_path / "file").write_text("")
    assert LocalStorage(tmp_path / "file" / "below").mark() == ""


def test_a_sweep_without_a_directory_does_nothing(storage, directory):
    assert storage.sweep() == 0
    assert not directory.exists()


def test_a_draft_is_published_once(storage):
    with storage.create("k") as draft:
        draft.publish(filename="f", rows=0, media_type="text/csv", kept_for=60)
        with pytest.raises(ValueError, match="once"):
            draft.publish(filename="f", rows=0, media_type="text/csv", kept_for=60)
        with pytest.raises(ValueError, match="before it is published"):
            draft.write(b"more")
