"""The export: a plain function, and the Celery task that calls it. Needs no Flask."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from celery import Celery, Task, current_app, shared_task

from petiole.errors import TaskFailure
from petiole.exports.database import Database
from petiole.exports.files.storage import LocalStorage
from petiole.exports.formats.csv import CsvWriter
from petiole.exports.pace import Pace
from petiole.exports.selection import TASK_NAME, InvalidSelection, parse_selection
from petiole.exports.settings import ExportSettings
from petiole.exports.sources import SourceUnavailable, open_source
from petiole.logs import logger
from petiole.worker.progress import progress

log = logger(__name__)

_CONFIRM_WITHIN: Final = 120.0
# Of an export that no web process has started.
_URL_TEMPLATE: Final = "/exports/{id}/file"
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def export_selection(
    payload: Mapping[str, Any],
    *,
    database: Database | Path | str,
    directory: Path,
    key: str,
    filename: str,
    batch_rows: int,
    rows_per_second: float | None,
    kept_for: float,
    url: str | None = None,
    tables: Collection[str] | None = None,
) -> dict[str, Any]:
    """Write the selected rows to a CSV file under `key` in `directory` and return `{"rows", "size", "sha256"}`.

    The rows are of one instant. The complete file exists before it is announced, and doesn't if this function raises.
    `kept_for` in seconds; `rows_per_second` of `None` or 0: no limit; `url`: the file's download address, if known;
    `tables`: the names that may be exported, `None`: all.

    Raises:
        TaskFailure: the database or the disk has a fault; the message is for the user.
        RunEnded: the task was cancelled, or a later run of it has begun.
    """
    with _explained():
        storage = LocalStorage(directory)
        storage.sweep()
        # Counting a large table takes minutes, and so may the first row: `check` notices a cancel meanwhile.
        with open_source(Database.parse(database), check=progress.update) as source:
            progress.stage("Counting rows", until=0.01)
            selection = parse_selection(source.catalog.only(tables), payload)
            rows = source.count(selection)
            progress.stage("Writing rows", total=rows, unit="rows", until=0.97)
            pace = Pace(rows_per_second)
            with storage.create(key) as file:
                writer = CsvWriter(file, [column.name for column in selection.columns])
                for batch in source.batches(selection, rows=pace.batch_rows(batch_rows)):
                    writer.write(batch)
                    progress.advance(batch.num_rows)
                    pace.wait(batch.num_rows)
                    # A batch of one large row isn't kept while the next one is read.
                    del batch
                writer.close()
                for remark in source.remarks:
                    progress.log(remark, level="warning")
                progress.stage("Finishing the file", until=1.0)
                manifest = file.publish(
                    filename=filename,
                    rows=rows,
                    media_type=writer.media_type,
                    kept_for=kept_for,
                    still_valid=confirm_run,
                )
    try:
        progress.artifact(
            manifest.filename,
            url=url,
            size=manifest.size,
            rows=manifest.rows,
            sha256=manifest.sha256,
            media_type=manifest.media_type,
            expires_at=manifest.expires_at,
        )
    except BaseException:
        # A file exists exactly if its task succeeded; but a later run's file isn't ours to remove.
        storage.remove(key, only=manifest)
        raise
    return {"rows": manifest.rows, "size": manifest.size, "sha256": manifest.sha256}


class ExportTask(Task):  # type: ignore[misc]
    """Refuses a wrong setting when a worker starts, and not when the first export runs."""

    @classmethod
    def on_bound(cls, app: Celery) -> None:
        """Read the settings once.

        Raises:
            SetupError: a setting of exports is unknown or wrong.
        """
        ExportSettings.load(app.conf)


@shared_task(name=TASK_NAME, base=ExportTask, bind=True)  # type: ignore[untyped-decorator]
def export(
    self: Any, payload: Mapping[str, Any], filename: str, url: str | None = None, mark: str = ""
) -> dict[str, Any]:
    """Export a selection with the settings of the app that this worker runs.

    The web side adds the file's download address, and the mark of its directory: a file in another one could never be had.
    """
    settings = ExportSettings.load(current_app.conf)
    task_id = str(self.request.id)
    if mark and LocalStorage(settings.directory).mark(make=False) != mark:
        log.error(
            "directory_not_shared",
            extra={
                "directory": str(settings.directory.absolute()),
                "reason": "The web process keeps exported files in another directory. Mount one directory on both hosts "
                "and name it in PETIOLE_EXPORTS_DIRECTORY for web and worker.",
            },
        )
        raise TaskFailure(
            "The worker and this site don't share a directory, so the file could not be downloaded. Tell the operator of "
            "this site: PETIOLE_EXPORTS_DIRECTORY has to name the same directory for both."
        )
    return export_selection(
        payload,
        database=settings.database,
        directory=settings.directory,
        key=task_id,
        filename=filename,
        batch_rows=settings.batch_rows,
        rows_per_second=settings.rows_per_second,
        kept_for=settings.kept_for,
        url=url or (settings.url_template or _URL_TEMPLATE).replace("{id}", task_id),
        tables=settings.tables or None,
    )


def confirm_run(
    *,
    within: float = _CONFIRM_WITHIN,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Return once the journal confirms that this run may publish; retries for `within` seconds.

    Raises:
        RunEnded: the run must not go on.
        TaskFailure: the journal didn't answer. Without the check a superseded run could replace the other run's file.
    """
    deadline = clock() + within
    while not progress.confirm():
        if clock() >= deadline:
            raise TaskFailure("The file was written, but its task could not be confirmed. Export it again.")
        sleep(1.0)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except InvalidSelection as error:
        # What there is instead may not be for everybody: the web side says that to who may know it.
        sentence = f"The offer has changed since the export was asked for. {error.reason} Choose anew what to export."
        raise TaskFailure(sentence) from None
    except SourceUnavailable as error:
        raise TaskFailure(str(error)) from error
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise TaskFailure("There is no room for the file. Export fewer rows, or try again later.") from error
