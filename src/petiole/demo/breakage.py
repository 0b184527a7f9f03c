"""Lets the page kill the worker or its pool processes, to show what happens then.

The web process only leaves a note. The demo, which has started the worker, takes it and kills what is its own.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from flask import Blueprint, Response, jsonify

from petiole.web.access.origins import refuse_foreign_origin
from petiole.web.bodies import read_json
from petiole.web.problems import Problem

PROCESS: Final = "process"
WORKER: Final = "worker"
BREAKABLE: Final = (PROCESS, WORKER)
# Long enough to read the page's message about a silent worker.
AGAIN_AFTER: Final = 5.0

_NOTE: Final = "kill"


def breakage_blueprint(directory: Path) -> Blueprint:
    """Return the route `POST /breakage`, which takes `{"kill": "process"}` or `{"kill": "worker"}`."""
    blueprint = Blueprint("breakage", __name__)

    @blueprint.post("/breakage")
    def kill() -> tuple[Response, int]:
        refuse_foreign_origin()
        body: Any = read_json()
        what = body.get("kill") if isinstance(body, dict) else None
        if what not in BREAKABLE:
            raise Problem(422, "This can't be killed", f"Send kill as one of: {', '.join(BREAKABLE)}.")
        ask(directory, what)
        return jsonify({"kill": what, "again_after": AGAIN_AFTER}), 202

    return blueprint


def ask(directory: Path, what: str) -> None:
    """Leave a note of what to kill; it replaces a note that wasn't taken yet."""
    draft = directory / f"{_NOTE}.{os.getpid()}"
    draft.write_text(what, encoding="ascii")
    draft.replace(directory / _NOTE)


def asked(directory: Path) -> str | None:
    """Take the note, if there is one, and return what to kill."""
    note = directory / _NOTE
    with suppress(FileNotFoundError):
        what = note.read_text(encoding="ascii")
        note.unlink()
        return what if what in BREAKABLE else None
    return None
