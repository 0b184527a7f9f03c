"""Where exports read: the path of a SQLite file, or the URL of a database."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from petiole.errors import SetupError

_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_REMEDY: Final = "Set it to the path of a SQLite file, sqlite:///path, or postgresql://user:password@host:5432/name."


@dataclass(frozen=True, slots=True)
class Database:
    """A SQLite file (`path`) or a PostgreSQL database (`url`). Neither its text nor its `repr` has a password."""

    path: Path | None = None
    url: str = field(default="", repr=False)

    @classmethod
    def parse(cls, value: object, *, name: str = "PETIOLE_EXPORTS_DATABASE") -> Database:
        """Read a path, `sqlite:///path` (four slashes: from the root) or `postgresql://…`; `name` is the setting's.

        Raises:
            SetupError: it is neither. The message doesn't repeat it, because it may hold a password.
        """
        if isinstance(value, Database):
            return value
        if not isinstance(value, (str, os.PathLike)):
            raise SetupError(f"{name} is of type {type(value).__name__}. {_REMEDY}")
        text = os.fsdecode(value)
        match = _URL.match(text)
        if match is None or isinstance(value, os.PathLike):
            if not text or "\0" in text:
                raise SetupError(f"{name} is empty or not a path. {_REMEDY}")
            return cls(path=Path(text))
        scheme = match[1].lower()
        if scheme == "sqlite":
            path = text[match.end() :]
            if not path.startswith("/") or path == "/" or "\0" in path:
                raise SetupError(f"{name} has no path after sqlite:///. {_REMEDY}")
            return cls(path=Path(path[1:]))
        if scheme != "postgresql":
            raise SetupError(f"{name} has the scheme {scheme}, which exports can't read. {_REMEDY}")
        if _shown(text) is None:
            raise SetupError(f"{name} isn't a valid postgresql:// URL. {_REMEDY}")
        return cls(url=text)

    def __str__(self) -> str:
        return str(self.path) if self.path is not None else _shown(self.url) or "postgresql://"


def _shown(url: str) -> str | None:
    """Return the URL without password and parameters; `None`: it isn't one."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    # A password with a bare @ / ? or # would be cut in two, and its end shown as a host or a database.
    if url.count("@") > parts.netloc.count("@") or parts.netloc.count("@") > 1 or parts.fragment:
        return None
    user, _, host = parts.netloc.rpartition("@")
    user = user.partition(":")[0]
    return f"postgresql://{f'{user}@' if user else ''}{host}{parts.path}"
