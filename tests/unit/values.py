"""Values of classes that users really have."""

from __future__ import annotations

from collections.abc import Iterator

LENGTH_ERRORS = [
    TypeError("object of type 'DataLoader' has no len()"),
    NotImplementedError("an iterable dataset has no length"),
    OverflowError("Python int too large to convert to C ssize_t"),
    ValueError("__len__() should return >= 0"),
    ConnectionError("the database doesn't answer"),
    RuntimeError("the query was not run"),
]


class Raising:
    """So many items, and a length that raises."""

    def __init__(self, items: int, error: Exception) -> None:
        self.items, self.error = items, error

    def __len__(self) -> int:
        raise self.error

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.items))


class Lying:
    """So many items, and another length."""

    def __init__(self, items: int, length: object) -> None:
        self.items, self.length = items, length

    def __len__(self) -> int:
        return self.length  # type: ignore[return-value]

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.items))


class Lazy:
    """Text in the reader's language, like Django's and Flask-Babel's."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text

    def __len__(self) -> int:
        return len(self.text)
