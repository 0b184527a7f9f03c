"""The browser files in a template: their script tag, and how long a browser keeps them."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from flask import Response, request, url_for
from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup

ENDPOINT: Final = "petiole.static"
SCRIPT: Final = "petiole.js"
_FOLDER: Final = Path(__file__).parents[1] / "static"
_KEPT: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Assets:
    """The browser files as they are: a hash over all of them, and the script's own as a browser checks it."""

    version: str
    integrity: str


def assets() -> Assets:
    """Return what the files are now: they are read again only if one has changed, as while somebody works on them."""
    paths = sorted(_FOLDER.glob("*.js"))
    return _read(tuple((path, path.stat().st_mtime_ns) for path in paths))


@lru_cache(maxsize=1)
def _read(files: tuple[tuple[Path, int], ...]) -> Assets:
    every = hashlib.sha256()
    for path, _ in files:
        every.update(path.read_bytes())
    script = hashlib.sha384((_FOLDER / SCRIPT).read_bytes()).digest()
    return Assets(every.hexdigest()[:16], f"sha384-{base64.b64encode(script).decode()}")


@pass_context
def petiole_assets(context: Context, *, nonce: str | None = None, defer: bool = False) -> Markup:
    """Return the script tag of the browser file, with its version in the address and its hash in `integrity`.

    The nonce is the given one, else what the template knows as `csp_nonce`, a value or, as in Flask-Talisman, a function. With
    `defer` the script runs once the page has been read.
    """
    known: Any = nonce if nonce is not None else context.get("csp_nonce")
    found = known() if callable(known) else known
    current = assets()
    # The second file is loaded from beside the first one with the same version, which is therefore of both.
    address = url_for(ENDPOINT, filename=SCRIPT, v=current.version)
    named = Markup(' nonce="{}"').format(found) if found else ""
    return Markup('<script src="{}" integrity="{}"{}{}></script>').format(
        address, current.integrity, named, Markup(" defer") if defer else ""
    )


def keep_versions(response: Response) -> Response:
    """Let browsers keep a file for a year if its address names the version that it has."""
    if request.endpoint == ENDPOINT and response.status_code < 400 and request.args.get("v") == assets().version:
        response.headers["Cache-Control"] = _KEPT
    return response
