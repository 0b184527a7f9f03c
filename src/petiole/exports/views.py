"""The HTTP routes of exports: list the tables, start an export, download its file."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flask import Blueprint, Response, jsonify, request, send_file, url_for
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.http import http_date

from petiole.errors import InvalidName
from petiole.exports.catalog import Catalog
from petiole.exports.database import Database
from petiole.exports.files.manifest import Manifest
from petiole.exports.files.storage import FileExpired, FileMissing, LocalStorage
from petiole.exports.selection import OPERATORS, TASK_NAME, InvalidSelection, Selection, parse_selection
from petiole.exports.sources import SourceUnavailable, open_source
from petiole.protocol.events import feed_id, task_feed
from petiole.web.access.origins import refuse_foreign_origin
from petiole.web.bodies import read_json
from petiole.web.http.neighbours import stand_past_csrf
from petiole.web.problems import Problem, not_found

if TYPE_CHECKING:
    from petiole import Petiole

_WITHOUT_FILE: Final = {"failed": "has failed", "cancelled": "was cancelled", "lost": "was lost with its worker"}


def exports_blueprint(
    petiole: Petiole, *, database: Database | Path | str, directory: Path, tables: Collection[str] | None = None
) -> Blueprint:
    """Return the blueprint that exports from `database` and serves the files in `directory`.

    `database` is the path of a SQLite file, or a `sqlite:///` or `postgresql://` URL. `tables`: the names that can be
    exported; `None`: every table of the database, for everybody who can reach the blueprint. The worker reads database and
    directory from its `ExportSettings`.

    Raises:
        SetupError: the database is of another kind, or its driver isn't installed.
    """
    read = Database.parse(database, name="exports_blueprint's database")
    open_source(read)
    blueprint = Blueprint("petiole_exports", __name__, url_prefix="/exports")
    storage = LocalStorage(directory)

    def links(snapshot: Any) -> Mapping[str, str]:
        if snapshot.document.get("task") != TASK_NAME:
            return {}
        return {"file": url_for("petiole_exports.file", task_id=feed_id(snapshot.feed))}

    petiole.add_links(links)
    stand_past_csrf(blueprint)

    @blueprint.get("/catalog")
    def catalog() -> Response:
        return jsonify(_describe(_read_catalog(read, tables)))

    @blueprint.post("")
    def start() -> Response:
        refuse_foreign_origin()
        payload = _read_body()
        try:
            selection = parse_selection(_read_catalog(read, tables), payload)
        except InvalidSelection as error:
            raise Problem(
                422,
                "This can't be exported",
                error.sentence,
                members={"errors": [{"field": error.field, "detail": error.sentence}]},
            ) from error
        handle = petiole.start(TASK_NAME, args=(payload, filename_of(selection)), title=title_of(selection))
        return petiole.accepted(handle)

    @blueprint.get("/<task_id>/file")
    def file(task_id: str) -> Response:
        document = _authorize(petiole, task_id)
        manifest, path = _find(storage, task_id, document)
        try:
            response = send_file(
                path.absolute(),
                mimetype=manifest.media_type,
                as_attachment=True,
                download_name=manifest.filename,
                conditional=True,
                etag=manifest.sha256,
                last_modified=manifest.created_at / 1000,
            )
        except FileNotFoundError:
            raise _gone() from None
        response.headers["Repr-Digest"] = f"sha-256=:{base64.b64encode(bytes.fromhex(manifest.sha256)).decode()}:"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "private, no-cache"
        response.headers["Sunset"] = http_date(manifest.expires_at / 1000)
        return response

    @blueprint.errorhandler(RequestedRangeNotSatisfiable)
    def unsatisfiable(error: RequestedRangeNotSatisfiable) -> Response:
        detail = "The file has no such bytes. Ask for a range within it, or for all of it."
        headers = dict(header for header in error.get_headers() if header[0] == "Content-Range")
        return Problem(416, "No such range", detail, headers=headers).to_response()

    return blueprint


def filename_of(selection: Selection) -> str:
    """Return a file name that is valid on every file system."""
    stem = re.sub(r"[^\w.-]+", "_", selection.table.name).strip("._")[:80]
    return f"{stem or 'export'}.csv"


def title_of(selection: Selection) -> str:
    """Return the task's title on a page, such as "flights, 19 columns"."""
    name = selection.table.name
    shown = name if len(name) <= 80 else f"{name[:79]}…"
    parts = [shown, _plural(len(selection.columns), "column")]
    if selection.filters:
        parts.append(_plural(len(selection.filters), "filter"))
    return ", ".join(parts)


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _describe(catalog: Catalog) -> dict[str, Any]:
    return {
        "tables": [
            {
                "name": table.name,
                "rows_estimate": table.rows_estimate,
                "columns": [{"name": column.name, "kind": column.kind} for column in table.columns],
            }
            for table in catalog.tables
        ],
        "operators": OPERATORS,
    }


def _read_catalog(database: Database, tables: Collection[str] | None) -> Catalog:
    try:
        with open_source(database) as source:
            return source.catalog.only(tables)
    except SourceUnavailable as error:
        raise Problem(503, "The database can't be read", str(error), headers={"Retry-After": "5"}) from error


def _read_body() -> Any:
    if request.mimetype != "application/json":
        raise Problem(415, "This is not JSON", "Send the selection as application/json.")
    return read_json(required=True)


def _authorize(petiole: Petiole, task_id: str) -> Mapping[str, Any]:
    try:
        feed = task_feed(task_id)
    except InvalidName:
        raise not_found() from None
    document: Mapping[str, Any] = petiole.authorize("download", feed).document
    if document.get("task") != TASK_NAME:
        raise not_found()
    return document


def _find(storage: LocalStorage, task_id: str, document: Mapping[str, Any]) -> tuple[Manifest, Path]:
    state = document.get("state")
    if state in _WITHOUT_FILE:
        raise Problem(409, "There is no file", f"This export {_WITHOUT_FILE[state]}. Export it again.")
    if state != "succeeded" and not document.get("artifacts"):
        detail = "This export is still under way. Try again later."
        raise Problem(409, "The file is not ready", detail, headers={"Retry-After": "2"})
    try:
        return storage.open(task_id)
    except InvalidName:
        raise not_found() from None
    except (FileMissing, FileExpired):
        raise _gone() from None


def _gone() -> Problem:
    return Problem(410, "The file is gone", "This file was kept for a while and is removed. Export it again.")
