"""What the exports add to the life of a task: its links, its start, its deletion, and what runs in the background."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from flask import current_app, has_request_context, request, url_for

from petiole.errors import InvalidName
from petiole.exports.files.storage import LocalStorage
from petiole.exports.janitor import Janitor
from petiole.exports.offer import Offer
from petiole.exports.selection import TASK_NAME, InvalidSelection, parse_selection
from petiole.exports.settings import ExportSettings
from petiole.exports.slots import Slots
from petiole.journal.answers import Snapshot
from petiole.protocol.events import feed_id
from petiole.web.problems import Problem
from petiole.web.service.beginning import Beginning

if TYPE_CHECKING:
    from petiole import Petiole

# In `app.extensions`: the settings of an application that has the exports.
EXTENSION: Final = "petiole_exports"


def connect(petiole: Petiole, offer: Offer, storage: LocalStorage) -> None:
    """Have `petiole` ask the exports, in those of its applications that have them."""

    def links(snapshot: Any) -> Mapping[str, str]:
        if not _is_here() or snapshot.document.get("task") != TASK_NAME:
            return {}
        return {"file": _address(feed_id(snapshot.feed))}

    def begin(beginning: Beginning) -> Beginning:
        if not _is_here() or beginning.name != TASK_NAME:
            return beginning
        if beginning.retry_of is not None:
            _check_again(offer, beginning)
        address = request.remote_addr if has_request_context() else None
        slots = Slots(petiole.journal, settings_here().per_owner)
        slots.take(beginning.task_id, owner=beginning.owner, address=address)
        added = {"mark": storage.mark()}
        # Without a request nobody knows where this site is mounted; a retry then has the address of before.
        if has_request_context() or settings_here().url_template:
            added["url"] = _address(beginning.task_id)
        return replace(beginning, kwargs={**beginning.kwargs, **added})

    def delete(snapshot: Snapshot) -> None:
        if _is_here() and snapshot.document.get("task") == TASK_NAME:
            with suppress(InvalidName):
                storage.remove(feed_id(snapshot.feed))

    petiole.add_links(links)
    petiole.before_start(begin)
    petiole.on_delete(delete)
    petiole.add_background(lambda: Janitor(storage, petiole.journal).loop if _is_here() else None)


def settings_here() -> ExportSettings:
    """Return the settings of the application of this request or context."""
    settings: ExportSettings = current_app.extensions[EXTENSION]
    return settings


def _is_here() -> bool:
    """Say whether this application has the exports; a `Petiole` may serve others as well."""
    return EXTENSION in current_app.extensions


def _address(task_id: str) -> str:
    template = settings_here().url_template
    return template.replace("{id}", task_id) if template else url_for("petiole_exports.file", task_id=task_id)


def _check_again(offer: Offer, beginning: Beginning) -> None:
    try:
        parse_selection(offer.catalog(settings_here().tables), beginning.args[0])
    except InvalidSelection as error:
        detail = f"What was exported isn't offered any more. {error.reason} Choose anew what to export."
        raise Problem(409, "Can't be retried", detail) from error
