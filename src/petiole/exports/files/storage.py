"""Exported files on the local disk: a file is there whole and described, or it is not there.

A file is published in this order: bytes to a temporary name → flush and fsync → close → the caller's last question
(is this still the valid run?) → rename → fsync of the directory → manifest, written the same way. The manifest's rename
is the one step that makes the file exist for `open`. The bytes are kept under a name with their checksum in it, so that
a second publication under the same key never shows one's bytes with the other's manifest.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from petiole.errors import PetioleError
from petiole.exports.files.manifest import Manifest, check_key
from petiole.exports.files.temporary import TemporaryFile, is_held, sync_directory
from petiole.logs import logger

log = logger(__name__)

# When a file that no process holds counts as left behind, and one of which nobody can tell.
STALE_AFTER: Final = 60.0
UNKNOWN_AFTER: Final = 86_400.0

# The name of the file that tells two directories apart.
MARK: Final = ".petiole-storage"
_MANIFEST: Final = ".json"
_DATA: Final = ".data"
_TEMPORARY: Final = ".tmp-"


class FileMissing(PetioleError):
    """There is no file under this key."""


class FileExpired(PetioleError):
    """The file under this key has expired."""


class UnpublishedFile:
    """A file while it is being written. Write its bytes, then `publish` it once; unpublished it is removed."""

    def __init__(self, storage: LocalStorage, key: str, file: TemporaryFile) -> None:
        self._storage = storage
        self._key = key
        self._file = file

    def write(self, data: bytes) -> None:
        """Append bytes, or any object with a buffer of them.

        Raises:
            OSError: the disk is full, or can't be written.
        """
        self._file.write(data)

    def publish(
        self,
        *,
        filename: str,
        rows: int,
        media_type: str,
        kept_for: float,
        still_valid: Callable[[], object] = lambda: None,
    ) -> Manifest:
        """Make the file available, for `kept_for` seconds.

        `still_valid` is called when all bytes are on disk and before the file is visible; it raises if the file must not be
        published. After any exception no part of the file is left.

        Raises:
            OSError: the disk is full, or can't be written.
        """
        self._file.finish()
        still_valid()
        created_at = self._storage.now()
        manifest = Manifest(
            key=self._key,
            filename=filename,
            size=self._file.size,
            sha256=self._file.sha256,
            rows=rows,
            media_type=media_type,
            created_at=created_at,
            expires_at=created_at + round(kept_for * 1000),
        )
        self._storage.adopt(self._file, manifest)
        return manifest


class LocalStorage:
    """A directory of exported files, one for each key; only its owner may read it.

    Several processes may use it at once. `clock` gives seconds since 1970.
    """

    def __init__(self, directory: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._directory = directory
        self._clock = clock

    def now(self) -> int:
        """Return the time in milliseconds since 1970."""
        return int(self._clock() * 1000)

    @contextmanager
    def create(self, key: str) -> Iterator[UnpublishedFile]:
        """Yield a file to write; at the end of the block it is removed unless it was published.

        Raises:
            InvalidName: the key isn't one.
            OSError: the directory or the file can't be made.
        """
        check_key(key)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with TemporaryFile(self._directory, prefix=f"{_TEMPORARY}{key}-") as file:
            yield UnpublishedFile(self, key, file)

    def adopt(self, file: TemporaryFile, manifest: Manifest) -> None:
        """Replace the key's file by a finished temporary file.

        Raises:
            OSError: the directory can't be written.
        """
        previous = self._manifest(manifest.key)
        superseded = previous is not None and previous.data_name != manifest.data_name
        try:
            file.rename(self._directory / manifest.data_name)
            sync_directory(self._directory)
            with TemporaryFile(self._directory, prefix=f"{_TEMPORARY}{manifest.key}-") as description:
                description.write(manifest.to_text().encode())
                description.finish()
                description.rename(self._manifest_path(manifest.key))
            sync_directory(self._directory)
        except BaseException:
            if manifest != previous:
                self.remove(manifest.key, only=manifest)
            if previous is None or superseded:
                (self._directory / manifest.data_name).unlink(missing_ok=True)
            raise
        if previous is not None and superseded:
            # The new file exists; the sweep removes what can't be removed here.
            with suppress(OSError):
                (self._directory / previous.data_name).unlink(missing_ok=True)

    def open(self, key: str) -> tuple[Manifest, Path]:
        """Return the manifest and the path of the bytes.

        The path can vanish at any time (expiry, another publication), but what is once open there stays whole.

        Raises:
            FileMissing: there is none.
            FileExpired: its time is over.
            InvalidName: the key isn't one.
        """
        manifest = self._manifest(check_key(key))
        if manifest is None:
            raise FileMissing("There is no such file. Export it again.")
        if manifest.expires_at <= self.now():
            raise FileExpired("The time of this file is over. Export it again.")
        return manifest, self._directory / manifest.data_name

    def remove(self, key: str, *, only: Manifest | None = None) -> None:
        """Remove the file under this key, if there is one; with `only`, not if another was published meanwhile.

        Raises:
            InvalidName: the key isn't one.
            OSError: the directory can't be written.
        """
        manifest = self._manifest(check_key(key))
        if only is not None and manifest != only:
            return
        self._manifest_path(key).unlink(missing_ok=True)
        if manifest is not None:
            (self._directory / manifest.data_name).unlink(missing_ok=True)

    def keys(self) -> list[str]:
        """Return the keys that have a file, expired ones included.

        Raises:
            OSError: the directory can't be read.
        """
        return [name.removesuffix(_MANIFEST) for name in self._names() if name.endswith(_MANIFEST)]

    def sweep(self) -> int:
        """Remove expired files, and what a killed process left a minute ago; return how many.

        Any number of processes may sweep at once, while others write. What can't be removed is a line of the log, and keeps
        nothing else.

        Raises:
            OSError: the directory can't be read.
        """
        before = self._names()
        for key in self.keys():
            self._or_say_why(key, partial(self._remove_expired, key))
        for name in self._names():
            if name.startswith(_TEMPORARY) or name.endswith(_DATA):
                self._or_say_why(name, partial(self._remove_leftover, name))
        return len(before - self._names())

    def mark(self, *, make: bool = True) -> str:
        """Return the mark of this directory, made by the first process that asks; another directory has another one.

        Two processes that see the same mark see the same files, whatever their paths are. Empty: there is none, and none
        was to be made, or none can be.
        """
        path = self._directory / MARK
        try:
            return path.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            if not make:
                return ""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            with TemporaryFile(self._directory, prefix=_TEMPORARY) as file:
                file.write(secrets.token_hex(16).encode())
                file.finish()
                # Of two processes the first one makes it: unlike a rename, a link replaces nothing.
                with suppress(FileExistsError):
                    file.link(path)
            return path.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            log.warning("storage_not_marked", extra={"directory": str(self._directory), "error": str(error)})
            return ""

    def discard(self, key: str) -> None:
        """Remove the file under this key as `remove` does; if it can't be removed, the log says so."""
        self._or_say_why(key, partial(self.remove, key))

    def _remove_expired(self, key: str) -> None:
        manifest = self._manifest(key)
        if manifest is not None and manifest.expires_at <= self.now():
            self.remove(key, only=manifest)

    def _remove_leftover(self, name: str) -> None:
        path = self._directory / name
        try:
            age = self._clock() - path.stat().st_mtime
            if age < STALE_AFTER:
                return
            held = is_held(path)
        except FileNotFoundError:
            return
        # Asked after the lock: whoever publishes holds the file until its manifest is there.
        if held or (held is None and age < UNKNOWN_AFTER) or (name.endswith(_DATA) and self._is_described(name)):
            return
        path.unlink(missing_ok=True)

    def _is_described(self, name: str) -> bool:
        # `key.sha256.data`
        manifest = self._manifest(name.removesuffix(_DATA).rpartition(".")[0])
        return manifest is not None and manifest.data_name == name

    def _or_say_why(self, name: str, remove: Callable[[], None]) -> None:
        try:
            remove()
        except OSError as error:
            log.warning("file_not_removed", extra={"file": name, "error": str(error)})

    def _names(self) -> set[str]:
        try:
            return set(os.listdir(self._directory))
        except FileNotFoundError:
            return set()

    def _manifest_path(self, key: str) -> Path:
        return self._directory / f"{key}{_MANIFEST}"

    def _manifest(self, key: str) -> Manifest | None:
        try:
            manifest = Manifest.from_text(self._manifest_path(key).read_bytes())
        except (FileNotFoundError, IsADirectoryError, ValueError):
            return None
        return manifest if manifest.key == key else None
