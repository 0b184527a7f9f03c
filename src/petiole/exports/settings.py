"""The table of settings of the data export; the core's settings know only what its keys begin with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from petiole.errors import SetupError
from petiole.exports.database import Database
from petiole.settings import read_table, setting

PREFIX: Final = "PETIOLE_EXPORTS_"


def read_names(key: str, value: object) -> tuple[str, ...]:
    """Read names from a list, the JSON of one, or a text with commas between them.

    Raises:
        SetupError: it is none of these, or has no name.
    """
    wrong = SetupError(
        f"{key} isn't a list of names. Set it to the names of tables, separated by commas, or to a JSON list."
    )
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.lstrip().startswith("[") else [name.strip() for name in value.split(",")]
        except ValueError:
            raise wrong from None
        if value == [""]:
            return ()
    if not isinstance(value, (list, tuple, set, frozenset)) or not all(
        isinstance(name, str) and name for name in value
    ):
        raise wrong
    return tuple(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSettings:
    """Every setting of the data export; as `PETIOLE_EXPORTS_<KEY>` in the environment, Flask's or Celery's configuration."""

    database: Database = setting(
        Database(path=Path("exports.sqlite")),
        "path or URL",
        "the database that exports read: the path of a SQLite file, `sqlite:///…` or `postgresql://…`",
        parse=lambda key, value: Database.parse(value, name=key),
    )
    tables: tuple[str, ...] = setting(
        (),
        "names",
        "the tables that may be exported, separated by commas or as a JSON list, checked again by the worker; empty: all",
        parse=read_names,
    )
    per_owner: int = setting(
        20, "exports", "how many exports of one person, or of one address without a login, may wait and run at a time"
    )
    directory: Path = setting(Path("exports"), "path", "where exported files are kept")
    kept_for: float = setting(7 * 86400.0, "seconds", "how long an exported file can be downloaded")
    batch_rows: int = setting(5000, "rows", "how many rows are read and written at a time")
    rows_per_second: float = setting(0.0, "rows per second", "how fast exports may read; 0: no limit", zero=True)
    url_template: str = setting(
        "", "path", "the download address of the task `{id}`; empty: where the web process serves the exports"
    )

    @classmethod
    def load(cls, *sources: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> ExportSettings:
        """Build the settings from the environment, then `sources` in their order, then the defaults.

        Raises:
            SetupError: a key with the prefix is unknown, or a value is of another type.
        """
        return cls(**read_table(cls, PREFIX, *sources, environ=environ))
