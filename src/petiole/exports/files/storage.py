"""Exported files on the local disk: a file is there whole and described, or it is not there.

A file is published in this order: bytes to a temporary name → flush and fsync → close → the caller's last question
(is this still the valid run?) → rename → fsync of the directory → manifest, written the same way. The manifest's rename
is the one step that makes the file exist for `open`. The bytes are kept under a name with their checksum in it, so that
a second publication under the same key never shows one's bytes with the other's manifest.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from petiole.errors import PetioleError
from petiole.exports.files.manifest import Manifest, check_key
from petiole.exports.files.temporary import TemporaryFile, sync_directory

STALE_AFTER: Final = 86_400.0

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

    def sweep(self) -> int:
        """Remove expired files, and those that a killed process left over a day ago; return how many.

        Raises:
            OSError: the directory can't be read or written.
        """
        if not self._directory.is_dir():
            return 0
        before = self._names()
        for name in before:
            if name.endswith(_MANIFEST):
                manifest = self._manifest(name.removesuffix(_MANIFEST))
                if manifest is not None and manifest.expires_at <= self.now():
                    self.remove(manifest.key, only=manifest)
        kept = {manifest.data_name for manifest in map(self._manifest, self._keys()) if manifest is not None}
        for name in self._names():
            left_behind = name.startswith(_TEMPORARY) or (name.endswith(_DATA) and name not in kept)
            if left_behind and self._is_stale(name):
                (self._directory / name).unlink(missing_ok=True)
        return len(before - self._names())

    def _names(self) -> set[str]:
        return set(os.listdir(self._directory))

    def _keys(self) -> list[str]:
        return [name.removesuffix(_MANIFEST) for name in self._names() if name.endswith(_MANIFEST)]

    def _is_stale(self, name: str) -> bool:
        try:
            return (self._directory / name).stat().st_mtime + STALE_AFTER <= self._clock()
        except FileNotFoundError:
            return False

    def _manifest_path(self, key: str) -> Path:
        return self._directory / f"{key}{_MANIFEST}"

    def _manifest(self, key: str) -> Manifest | None:
        try:
            manifest = Manifest.from_text(self._manifest_path(key).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return manifest if manifest.key == key else None
