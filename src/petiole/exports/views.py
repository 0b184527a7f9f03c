"""The HTTP routes of exports: list the tables, start an export, download its file."""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from flask import Blueprint, Response, jsonify, request, send_file
from flask.blueprints import BlueprintSetupState
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.http import http_date

from petiole.errors import InvalidName
from petiole.exports.catalog import Catalog
from petiole.exports.database import Database
from petiole.exports.files.manifest import Manifest
from petiole.exports.files.storage import FileExpired, FileMissing, LocalStorage
from petiole.exports.hooks import EXTENSION, connect, settings_here
from petiole.exports.offer import Offer
from petiole.exports.selection import OPERATORS, TASK_NAME, InvalidSelection, Selection, parse_selection
from petiole.exports.settings import ExportSettings
from petiole.logs import logger
from petiole.protocol.events import task_feed
from petiole.web.access.origins import refuse_foreign_origin
from petiole.web.bodies import read_json
from petiole.web.http.neighbours import stand_past_csrf
from petiole.web.problems import Problem, not_found

if TYPE_CHECKING:
    from petiole import Petiole

log = logger(__name__)

# A table has at most 1,600 columns in PostgreSQL and 2,000 in SQLite, and all of them may be named.
MOST_BODY: Final = 512 * 1024

_WITHOUT_FILE: Final = {"failed": "has failed", "cancelled": "was cancelled", "lost": "was lost with its worker"}


def exports_blueprint(
    petiole: Petiole, *, database: Database | Path | str, directory: Path, tables: Collection[str] | None = None
) -> Blueprint:
    """Return the blueprint that exports from `database` and serves the files in `directory`.

    `database` is the path of a SQLite file, or a `sqlite:///` or `postgresql://` URL. `tables`: the names that can be
    exported; `None`: those of `PETIOLE_EXPORTS_TABLES`, and without that every table of the database, for everybody who can
    reach the blueprint. The worker reads database, directory and tables from its `ExportSettings`.

    Raises:
        SetupError: the database is of another kind, or its driver isn't installed. Registering it: a setting is wrong, or
            `tables` has one that `PETIOLE_EXPORTS_TABLES` hasn't.
    """
    offer = Offer(Database.parse(database, name="exports_blueprint's database"), tables)
    blueprint = Blueprint("petiole_exports", __name__, url_prefix="/exports")
    storage = LocalStorage(directory)

    def prepare(state: BlueprintSetupState) -> None:
        settings = state.app.extensions[EXTENSION] = ExportSettings.load(state.app.config)
        offer.check(settings.tables)

    blueprint.record(prepare)
    connect(petiole, offer, storage)
    stand_past_csrf(blueprint)

    @blueprint.get("/catalog")
    def catalog() -> Response:
        return jsonify(_describe(offer.catalog(settings_here().tables)))

    @blueprint.post("")
    def start() -> Response:
        refuse_foreign_origin()
        payload = _read_body()
        try:
            selection = parse_selection(offer.catalog(settings_here().tables), payload)
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
            _check_size(manifest, path)
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
                "ordered_by": table.ordered_by,
                "columns": [{"name": column.name, "kind": column.kind} for column in table.columns],
            }
            for table in catalog.tables
        ],
        "operators": OPERATORS,
    }


def _read_body() -> Any:
    if request.mimetype != "application/json":
        raise Problem(415, "This is not JSON", "Send the selection as application/json.")
    return read_json(required=True, most=MOST_BODY)


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
    except FileExpired:
        raise _gone() from None
    except FileMissing:
        artifact = (document.get("artifacts") or [{}])[0]
        if (artifact.get("expires_at") or 0) <= storage.now():
            raise _gone() from None
        log.error("file_not_here", extra={"task": task_id, "reason": "Its task has made it, and its time isn't over."})
        detail = (
            "The file isn't where this site looks for it. Export it again; if that doesn't help, tell the operator of this "
            "site: PETIOLE_EXPORTS_DIRECTORY has to name the same directory for web and worker."
        )
        raise Problem(410, "The file is gone", detail) from None


def _check_size(manifest: Manifest, path: Path) -> None:
    size = path.stat().st_size
    if size != manifest.size:
        log.error("file_damaged", extra={"file": path.name, "size": size, "reason": f"It had {manifest.size} bytes."})
        raise Problem(410, "The file is damaged", "This file isn't whole any more. Export it again.")


def _gone() -> Problem:
    return Problem(410, "The file is gone", "This file was kept for a while and is removed. Export it again.")
