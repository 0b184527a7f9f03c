"""What a journal decides of texts: which survive a run's beginning, and what a reading brings of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from petiole.protocol.texts import MAX_READ_BYTES, NO_TEXTS, Chunk, Span, Texts, boundary


def texts_once_begun(texts: Texts, run: int) -> Texts:
    """Return a feed's texts once `run` has begun: those of earlier runs are void."""
    return texts.of_run(run) if texts else NO_TEXTS


def spans_after(texts: Texts, held: Texts) -> list[Span]:
    """Return what a reading brings of the texts to a reader that has `held` of them: at most `MAX_READ_BYTES` in all."""
    left = MAX_READ_BYTES
    held = held.of_run(texts.run)
    spans = []
    for name, length in texts.lengths:
        at = held.length(name) if held.length(name) <= length else 0
        end = min(length, at + left)
        if end > at:
            left -= end - at
            spans.append(Span(name, at, end))
    return spans


def chunks_of(texts: Texts, held: Texts, found: Iterable[tuple[Span, bytes]]) -> tuple[tuple[Chunk, ...], Texts]:
    """Return the chunks of a reading, and the lengths that a reader at `held` has with them.

    `found` are the `spans_after` with their bytes. A chunk that would end within a character is cut before that.
    """
    has = {name: at for name, at in held.of_run(texts.run).lengths if at <= texts.length(name)}
    chunks = []
    for span, text in found:
        if span.at and text and text[0] & 0xC0 == 0x80:
            # Nobody was given such a position: the next reading brings the text from its start.
            del has[span.name]
            continue
        whole = text if span.end == texts.length(span.name) else _whole(text)
        # Where somebody else has taken bytes away there is no more to read; the reader finds out by the length.
        has[span.name] = span.at + len(whole) if len(text) == span.end - span.at else span.end
        if whole:
            chunks.append(Chunk(span.name, span.at, whole.decode(errors="replace")))
    return tuple(chunks), Texts.of(texts.run, {name: length for name, length in has.items() if length})


def _whole(text: bytes) -> bytes:
    """Return these bytes without their last character if it may be cut off."""
    last = boundary(text, len(text) - 1)
    return text[:last] if text and text[last] >= 0x80 else text
