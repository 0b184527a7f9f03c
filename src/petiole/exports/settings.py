"""The table of settings of the data export; the core's settings know only what its keys begin with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from petiole.exports.database import Database
from petiole.settings import read_table, setting

PREFIX: Final = "PETIOLE_EXPORTS_"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSettings:
    """Every setting of the data export; as `PETIOLE_EXPORTS_<KEY>` in the environment, Flask's or Celery's configuration."""

    database: Database = setting(
        Database(path=Path("exports.sqlite")),
        "path or URL",
        "the database that exports read: the path of a SQLite file, `sqlite:///…` or `postgresql://…`",
        parse=lambda key, value: Database.parse(value, name=key),
    )
    directory: Path = setting(Path("exports"), "path", "where exported files are kept")
    kept_for: float = setting(7 * 86400.0, "seconds", "how long an exported file can be downloaded")
    batch_rows: int = setting(5000, "rows", "how many rows are read and written at a time")
    rows_per_second: float = setting(0.0, "rows per second", "how fast exports may read; 0: no limit", zero=True)
    url_template: str = setting("/exports/{id}/file", "path", "the download address of the task `{id}`")

    @classmethod
    def load(cls, *sources: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> ExportSettings:
        """Build the settings from the environment, then `sources` in their order, then the defaults.

        Raises:
            SetupError: a key with the prefix is unknown, or a value is of another type.
        """
        return cls(**read_table(cls, PREFIX, *sources, environ=environ))
