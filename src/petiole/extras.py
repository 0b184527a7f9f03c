"""Optional parts of Petiole: each checks for its packages before it imports them."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from petiole.errors import SetupError


class MissingExtra(SetupError, ImportError):
    """An optional part of Petiole is imported, and its packages aren't installed."""


def require(part: str, extra: str, *packages: str) -> None:
    """Check that the packages of a part are installed; nothing is imported.

    Raises:
        MissingExtra: one isn't.
    """
    for package in packages:
        if package not in sys.modules and find_spec(package) is None:
            raise MissingExtra(
                f"{part} needs {package}, which isn't installed. Run: pip install 'petiole[{extra}]'", name=package
            )
