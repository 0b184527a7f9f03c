"""A secret that is generated once and kept in a file."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def kept_secret(path: Path) -> str:
    """Return the secret in a file, generated if there is none. The file is written atomically.

    Raises:
        OSError: the file can't be read or written.
    """
    if not path.exists() or not path.read_text():
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
            file.flush()
            os.fsync(descriptor)
        draft.replace(path)
    return path.read_text()
