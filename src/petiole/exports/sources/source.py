"""What an export reads from: any database that counts and yields a selection as of one instant."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from petiole.errors import PetioleError
from petiole.exports.catalog import Catalog
from petiole.exports.selection import Selection

if TYPE_CHECKING:
    import pyarrow as pa


class SourceUnavailable(PetioleError):
    """The database can't be read. The message is for the person who asked: it names no address and no SQL."""


class Source(Protocol):
    """A database, opened read-only, as it is at one instant; for the thread that enters it.

    Catalog, count and rows agree with each other from the entry to the exit, whatever others write. Memory is bounded by
    one batch, of a few MiB or one row. Every call may raise `SourceUnavailable`.
    """

    def __enter__(self) -> Self:
        """Open the database and read its catalog."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the database; nothing of it goes on in a server."""
        ...

    @property
    def catalog(self) -> Catalog:
        """The catalog as of the instant of entry."""
        ...

    def count(self, selection: Selection) -> int:
        """Return how many rows `batches` gives for this selection."""
        ...

    def batches(self, selection: Selection, *, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield the rows, `rows` at a time, in an order that stays the same; nothing at all if there are none."""
        ...

    @property
    def remarks(self) -> tuple[str, ...]:
        """What the reader of the file should know of its values, in sentences, as of the rows so far."""
        ...


def escape_like(text: str) -> str:
    r"""Return the text as a pattern of `LIKE` that matches it alone, with `\` as the escape."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def undecoded_remark(count: int) -> tuple[str, ...]:
    """Return what a file's reader should know of texts that weren't valid UTF-8."""
    if not count:
        return ()
    texts = "1 text isn't" if count == 1 else f"{count:,} texts aren't"
    return (f"{texts} valid UTF-8; the file has the bytes, as X'…'.",)
