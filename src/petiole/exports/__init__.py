"""Data export: a click, a 202, a worker that reads a real database and writes a real file, a download.

Names are imported when they are first used: a worker needs no Flask, and a web process doesn't need the task.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from petiole.extras import MissingExtra, require

require("Petiole's data export", "exports", "pyarrow")

if TYPE_CHECKING:
    from petiole.exports.catalog import Catalog, Column, Table
    from petiole.exports.files.manifest import Manifest
    from petiole.exports.files.storage import FileExpired, FileMissing, LocalStorage
    from petiole.exports.formats.csv import CsvWriter, Writer
    from petiole.exports.selection import Filter, InvalidSelection, Selection, parse_selection
    from petiole.exports.settings import ExportSettings
    from petiole.exports.sources import Source, SourceUnavailable, open_source
    from petiole.exports.task import export_selection
    from petiole.exports.views import exports_blueprint

__all__ = [
    "Catalog",
    "Column",
    "CsvWriter",
    "ExportSettings",
    "FileExpired",
    "FileMissing",
    "Filter",
    "InvalidSelection",
    "LocalStorage",
    "Manifest",
    "Selection",
    "Source",
    "SourceUnavailable",
    "Table",
    "Writer",
    "export_selection",
    "exports_blueprint",
    "open_source",
    "parse_selection",
]

_HOMES: Final = {
    "catalog": ("Catalog", "Column", "Table"),
    "files.manifest": ("Manifest",),
    "selection": ("Filter", "InvalidSelection", "Selection", "parse_selection"),
    "settings": ("ExportSettings",),
    "sources": ("Source", "SourceUnavailable", "open_source"),
    "files.storage": ("FileExpired", "FileMissing", "LocalStorage"),
    "task": ("export_selection",),
    "views": ("exports_blueprint",),
    "formats.csv": ("CsvWriter", "Writer"),
}
_OPTIONAL: Final = ("flask", "pyarrow", "werkzeug")


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            try:
                return getattr(import_module(f"{__name__}.{home}"), name)
            except ModuleNotFoundError as error:
                if error.name not in _OPTIONAL:
                    raise
                raise MissingExtra(
                    f"Petiole's data export needs {error.name}, which isn't installed. Run: pip install 'petiole[exports]'",
                    name=error.name,
                ) from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
