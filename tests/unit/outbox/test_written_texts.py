"""What a run keeps of its texts, apart from its outbox."""

from __future__ import annotations

import hashlib

from petiole.protocol.texts import Chunk, Texts
from petiole.worker.texts import WrittenTexts


def sent(texts):
    """Take what is to be sent, and acknowledge it."""
    chunk = texts.next_chunk()
    if chunk is not None:
        texts.acknowledge(chunk)
    return chunk


def test_half_a_surrogate_pair_waits_for_the_other_half_and_keeps_nobody_busy():
    texts = WrittenTexts(1, limit=100)
    texts.write("output", "a\ud83d")
    assert sent(texts) == Chunk("output", 0, "a")
    assert not texts.waiting
    assert texts.next_chunk() is None
    texts.write("output", "\ude00b")
    assert sent(texts) == Chunk("output", 1, "😀b")


def test_half_a_surrogate_pair_that_stays_alone_is_replaced_at_the_end():
    texts = WrittenTexts(1, limit=100)
    texts.write("output", "\ud83d")
    assert sent(texts) is None
    whole = "\ufffd".encode()
    assert texts.close() == {"output": {"length": 3, "sha256": hashlib.sha256(whole).hexdigest()}}
    assert sent(texts) == Chunk("output", 0, "\ufffd")


def test_texts_take_turns():
    texts = WrittenTexts(1, limit=100)
    for name in ("one", "two"):
        texts.write(name, name)
    assert [sent(texts).name, sent(texts).name] == ["one", "two"]
    assert not texts.waiting


def test_a_length_that_is_not_ours_is_written_from_the_start():
    texts = WrittenTexts(1, limit=100)
    texts.write("output", "text")
    sent(texts)
    texts.rewind(Texts.of(1, {"output": 50}))
    assert texts.next_chunk() == Chunk("output", 0, "text")
    texts.rewind(Texts.of(1, {"output": 2}))
    assert texts.next_chunk() == Chunk("output", 2, "xt")
