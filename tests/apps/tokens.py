"""The answer that the integration tests' task writes: tokens of all kinds, the same each time."""

from __future__ import annotations

import random
from collections.abc import Iterator

TOKENS = (
    "the ",
    "petiole ",
    "carries ",
    "water",
    ", ",
    "sap ",
    "und Grüße ",
    "日本語 ",
    "👩‍👩‍👧 ",
    "مرحبا ",
    "</b>",
    "\n",
    "\\",
    '"',
)


def tokens_of(total: int) -> Iterator[str]:
    """The tokens that `answer` writes, the same each time."""
    chosen = random.Random(total)
    for number in range(total):
        yield f"{number}:" if number % 50 == 0 else chosen.choice(TOKENS)
