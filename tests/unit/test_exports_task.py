from __future__ import annotations

import csv
import hashlib
import sqlite3
import subprocess
import sys
import traceback
from contextlib import closing
from pathlib import Path

import pytest

from petiole.errors import Cancelled, Fenced, TaskFailure
from petiole.exports import task
from petiole.exports.files.storage import FileMissing, LocalStorage
from petiole.exports.pace import Pace
from petiole.exports.task import confirm_run, export_selection
from petiole.worker.progress import Progress


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (n INTEGER, x TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(n, f"=row {n}") for n in range(2500)])
        connection.commit()
    return path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "files"


def run(database: Path, directory: Path, **selection: object) -> dict:
    return export_selection(
        {"table": "t", **selection},
        database=database,
        directory=directory,
        key="k",
        filename="t.csv",
        batch_rows=1000,
        rows_per_second=None,
        kept_for=60.0,
        url="/exports/k/file",
    )


def test_an_export_outside_a_task_is_a_whole_file(database, directory):
    result = run(database, directory)
    manifest, path = LocalStorage(directory).open("k")
    assert result == {"rows": 2500, "size": path.stat().st_size, "sha256": manifest.sha256}
    assert hashlib.sha256(path.read_bytes()).hexdigest() == manifest.sha256
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["n", "x"]
    assert rows[1:] == [[str(n), f"'=row {n}"] for n in range(2500)]


def test_an_export_of_nothing_is_a_file_with_a_header(database, directory):
    result = run(database, directory, filters=[{"column": "n", "operator": "<", "value": 0}])
    assert result["rows"] == 0
    assert LocalStorage(directory).open("k")[1].read_bytes() == b'"n","x"\n'


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (lambda path: path.unlink(), "isn't there"),
        (lambda path: path.write_bytes(b"nonsense " * 1000), "damaged"),
        (lambda path: change(path, "DROP TABLE t"), "has changed since"),
        (lambda path: change(path, "ALTER TABLE t DROP COLUMN x"), "has changed since"),
    ],
)
def test_a_database_that_is_not_as_it_was_is_a_failure_that_says_so(database, directory, prepare, sentence):
    prepare(database)
    with pytest.raises(TaskFailure, match=sentence) as caught:
        run(database, directory, columns=["x", "n"])
    assert str(database) not in str(caught.value)
    with pytest.raises(FileMissing):
        LocalStorage(directory).open("k")


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()


def test_the_worker_checks_the_offer_itself_and_names_nothing_of_the_rest(database, directory, monkeypatch):
    change(database, "CREATE TABLE secret_mergers (password TEXT)")
    monkeypatch.setenv("PETIOLE_EXPORTS_DATABASE", str(database))
    monkeypatch.setenv("PETIOLE_EXPORTS_DIRECTORY", str(directory))
    asked = [({"table": "secret_mergers"}, "s.csv"), ({"table": "absent"}, "a.csv")]
    for tables, selection in (("t", asked[0]), ('["t", "u"]', asked[0]), ("", asked[1])):
        monkeypatch.setenv("PETIOLE_EXPORTS_TABLES", tables)
        with pytest.raises(TaskFailure, match="offer has changed since") as caught:
            task.export.apply(args=selection, throw=True)
        # Nor does the log, or Celery's result, which have the exception with its causes.
        assert "mergers" not in "".join(traceback.format_exception(caught.value)).replace(repr(selection), "")
    # The negative control.
    assert task.export.apply(args=asked[0], throw=True).get()["rows"] == 0


def test_a_worker_with_a_directory_of_its_own_says_so_and_reads_nothing(database, directory, tmp_path, monkeypatch):
    monkeypatch.setenv("PETIOLE_EXPORTS_DATABASE", str(database))
    monkeypatch.setenv("PETIOLE_EXPORTS_DIRECTORY", str(directory))
    of_the_web = LocalStorage(tmp_path / "web").mark()
    assert of_the_web == LocalStorage(tmp_path / "web").mark(make=False) != ""
    for _ in range(2):
        with pytest.raises(TaskFailure, match="PETIOLE_EXPORTS_DIRECTORY has to name the same directory"):
            task.export.apply(args=({"table": "t"}, "t.csv"), kwargs={"mark": of_the_web}, throw=True)
        LocalStorage(directory).mark()
    # The same directory by another path.
    (tmp_path / "mounted").symlink_to(tmp_path / "web")
    monkeypatch.setenv("PETIOLE_EXPORTS_DIRECTORY", str(tmp_path / "mounted"))
    done = task.export.apply(args=({"table": "t"}, "t.csv"), kwargs={"mark": of_the_web}, throw=True)
    assert done.get()["rows"] == 2500


def test_the_download_address_is_the_one_that_the_web_side_gives(database, directory, monkeypatch):
    monkeypatch.setenv("PETIOLE_EXPORTS_DATABASE", str(database))
    monkeypatch.setenv("PETIOLE_EXPORTS_DIRECTORY", str(directory))
    recorded = Recorded()
    monkeypatch.setattr(task, "progress", recorded)
    for url, template, shown in (
        ("/shop/reports/1/file", "", "/shop/reports/1/file"),
        (None, "", "/exports/1/file"),
        (None, "/of/{id}", "/of/1"),
    ):
        monkeypatch.setenv("PETIOLE_EXPORTS_URL_TEMPLATE", template)
        task.export.apply(args=({"table": "t"}, "t.csv"), kwargs={"url": url}, task_id="1", throw=True)
        assert recorded.calls[-1][2]["url"] == shown


def test_a_full_disk_is_a_failure_that_says_so(database, directory, monkeypatch):
    import errno
    import os

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TaskFailure, match="no room"):
        run(database, directory)
    assert not any(directory.iterdir())


class Recorded(Progress):
    """The same calls, in a list; `end` raises like a run that is ended."""

    def __init__(self, *, end: tuple[str, BaseException] | None = None) -> None:
        self.calls: list[tuple] = []
        self._end = end

    def _note(self, *call: object) -> None:
        self.calls.append(call)
        if self._end is not None and call[0] == self._end[0]:
            raise self._end[1]

    def stage(self, name, *, total=None, unit=None, until=1.0):
        self._note("stage", name, total, unit, until)

    def advance(self, amount=1):
        self._note("advance", amount)

    def confirm(self, *, timeout=10.0):
        self._note("confirm")
        return True

    def artifact(self, name, **about):
        self._note("artifact", name, about)


def test_an_export_tells_its_stages_rows_and_file_in_order(database, directory, monkeypatch):
    recorded = Recorded()
    monkeypatch.setattr(task, "progress", recorded)
    result = run(database, directory)
    manifest, _ = LocalStorage(directory).open("k")
    assert recorded.calls == [
        ("stage", "Counting rows", None, None, 0.01),
        ("stage", "Writing rows", 2500, "rows", 0.97),
        ("advance", 1000),
        ("advance", 1000),
        ("advance", 500),
        ("stage", "Finishing the file", None, None, 1.0),
        ("confirm",),
        (
            "artifact",
            "t.csv",
            {
                "url": "/exports/k/file",
                "size": result["size"],
                "rows": 2500,
                "sha256": result["sha256"],
                "media_type": "text/csv",
                "expires_at": manifest.expires_at,
            },
        ),
    ]


@pytest.mark.parametrize("call", ["stage", "advance", "confirm", "artifact"])
@pytest.mark.parametrize("ending", [Cancelled, Fenced, ValueError])
def test_a_run_that_is_ended_at_any_call_leaves_no_file(database, directory, monkeypatch, call, ending):
    monkeypatch.setattr(task, "progress", Recorded(end=(call, ending("ended"))))
    with pytest.raises(ending):
        run(database, directory)
    assert not directory.exists() or not any(directory.iterdir())


def test_a_run_that_cannot_be_confirmed_publishes_nothing_and_says_so(monkeypatch):
    class Silent(Progress):
        def confirm(self, *, timeout=10.0):
            return False

    now = [0.0]
    monkeypatch.setattr(task, "progress", Silent())
    with pytest.raises(TaskFailure, match="could not be confirmed"):
        confirm_run(within=5.0, clock=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds))
    assert now[0] == 5.0


def test_a_run_is_confirmed_as_soon_as_the_journal_answers(monkeypatch):
    answers = iter([False, False, True])

    class Slow(Progress):
        def confirm(self, *, timeout=10.0):
            return next(answers)

    monkeypatch.setattr(task, "progress", Slow())
    confirm_run(clock=lambda: 0.0, sleep=lambda seconds: None)
    assert next(answers, None) is None


def paced(per_second: float | None, most: int, rows: int, *, lost: float = 0.0, work: float = 0.0) -> tuple[float, int]:
    now = [100.0]

    def sleep(seconds: float) -> None:
        assert seconds >= 0
        now[0] += seconds

    pace = Pace(per_second, clock=lambda: now[0], sleep=sleep)
    batch = pace.batch_rows(most)
    now[0] += lost
    for _ in range(rows // batch):
        now[0] += work
        pace.wait(batch)
    return now[0] - 100.0 - lost, batch


@pytest.mark.parametrize("limit", [None, 0, 0.0])
def test_without_a_limit_nothing_waits(limit):
    assert paced(limit, 5000, 100_000) == (0.0, 5000)


@pytest.mark.parametrize("per_second", [0.5, 3, 100, 20_000, 1_000_000])
def test_a_limit_is_kept_in_small_steps(per_second):
    seconds, batch = paced(per_second, 5000, 10_000)
    assert seconds == pytest.approx((10_000 // batch) * batch / per_second)
    assert batch <= max(1, per_second / 5)


def test_lost_time_is_not_made_up_for():
    seconds, batch = paced(1000, 5000, 10_000, lost=60.0)
    assert seconds == pytest.approx(10.0, abs=1.5 * batch / 1000)


def test_the_time_of_the_work_counts():
    assert paced(1000, 5000, 10_000, work=0.15)[0] == pytest.approx(10.0)
    assert paced(1000, 5000, 10_000, work=0.3)[0] == pytest.approx(15.0)


def test_the_task_is_there_by_name_and_needs_no_flask():
    code = (
        "import sys, petiole.exports, petiole.exports.task as task\n"
        "assert task.export.name == 'petiole.exports.export'\n"
        "assert not {'flask', 'flask_socketio', 'pandas'} & set(sys.modules), sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_an_export_does_not_import_pandas(database, directory):
    # If pandas is installed, importing it would cost each worker a second and 60 MB.
    code = (
        "import sys; from pathlib import Path; from petiole.exports import export_selection\n"
        "export_selection({'table': 't'}, database=Path(sys.argv[1]), directory=Path(sys.argv[2]), key='k',\n"
        "    filename='t.csv', batch_rows=1000, rows_per_second=None, kept_for=60)\n"
        "assert 'pandas' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code, str(database), str(directory)], check=True, timeout=60)


def test_the_names_of_the_package_are_there():
    import petiole.exports

    for name in petiole.exports.__all__:
        assert getattr(petiole.exports, name).__name__ == name
    with pytest.raises(AttributeError):
        petiole.exports.nothing  # noqa: B018


def test_a_wrong_setting_is_refused_when_the_worker_starts(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "petiole.demo.celery_app", "worker", "--pool", "solo"],
        capture_output=True,
        text=True,
        timeout=60,
        env={"CELERY_BROKER_URL": "redis://127.0.0.1:1/0", "PETIOLE_EXPORTS_BATCH_ROW": "5"},
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 1
    assert "Did you mean PETIOLE_EXPORTS_BATCH_ROWS?" in done.stderr
