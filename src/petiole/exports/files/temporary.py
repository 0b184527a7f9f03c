"""A file that is written under a temporary name, and either renamed once it is synced, or removed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_HELD: Final = (errno.EWOULDBLOCK, errno.EACCES)


class TemporaryFile:
    """A new file in `directory`, readable by its owner only; removed at the end of the block unless it was renamed.

    It is hashed while it is written: the checksum covers the intended bytes and needs no second read. Until the end of the
    block its process holds a lock on it, under whatever name, so that others can tell it from what a dead process has left.
    """

    def __init__(self, directory: Path, *, prefix: str) -> None:
        self._path = directory / f"{prefix}{secrets.token_hex(8)}"
        self._hash = hashlib.sha256()
        self._descriptor: int | None = None
        self._lock: int | None = None
        self._is_there = False
        self.size = 0

    def __enter__(self) -> Self:
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._is_there = True
        try:
            # A duplicate keeps the lock when the file is closed.
            self._lock = os.dup(self._descriptor)
            # Some network file systems have no locks: there only the age tells what was left behind.
            with suppress(OSError):
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._close()
        finally:
            if self._is_there:
                self._path.unlink(missing_ok=True)
            lock, self._lock = self._lock, None
            if lock is not None:
                os.close(lock)

    @property
    def sha256(self) -> str:
        """The checksum of all bytes written, in hexadecimal."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Append bytes, all of them.

        Raises:
            OSError: the disk is full, or can't be written.
        """
        if self._descriptor is None:
            raise ValueError("The file is finished. Write before it is published.")
        self._hash.update(data)
        rest = memoryview(data)
        self.size += rest.nbytes
        while rest.nbytes:
            rest = rest[os.write(self._descriptor, rest) :]

    def finish(self) -> None:
        """Sync the bytes to disk and close the file.

        Raises:
            OSError: they weren't written; a full disk may be reported only here.
        """
        if self._descriptor is None:
            raise ValueError("The file is finished already. Publish it once.")
        os.fsync(self._descriptor)
        self._close()

    def rename(self, path: Path) -> None:
        """Rename the finished file, replacing any file of that name; it is no longer temporary.

        Raises:
            OSError: the directory can't be written.
        """
        os.replace(self._path, path)
        self._is_there = False

    def link(self, path: Path) -> None:
        """Give the finished file a second name, which stays.

        Raises:
            FileExistsError: there is a file of that name.
            OSError: the directory can't be written.
        """
        os.link(self._path, path)

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def is_held(path: Path) -> bool | None:
    """Say whether a process still has this file in a `TemporaryFile`; `None`: its file system can't tell.

    Raises:
        FileNotFoundError: it isn't there any more.
        OSError: it can't be opened.
    """
    # A network file system grants such a lock only to who may write.
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in _HELD else None
    finally:
        os.close(descriptor)
    return False


def sync_directory(directory: Path) -> None:
    """Sync the directory, so that a rename survives a power cut.

    Raises:
        OSError: they didn't get there.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
