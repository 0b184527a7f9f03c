"""Lays the texts of a task between its events, so that a line of events has all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from petiole.protocol.events import Event, mint_id
from petiole.protocol.texts import MAX_CHUNK_BYTES, TEXT, TEXT_VERSION, Chunk, Texts, boundary


class Interleaving:
    """Says what to print before each event. A reading brings a text in one piece; each event says how long it was by then."""

    def __init__(self) -> None:
        self._laid = Texts()
        self._last: Event | None = None

    def lay(self, event: Event, texts: Mapping[str, str], *, run: int) -> list[Event]:
        """Return the texts up to an event, then the event; `texts` are those of `run`, up to this event or further.

        What an earlier run has written isn't there any more: its events don't count it.
        """
        laid, told = self._laid.of_run(max(event.texts.run, self._laid.run)), event.texts
        added: list[tuple[Chunk, Texts]] = []
        for name, length in told.lengths if told.run == run else ():
            encoded = texts.get(name, "").encode()[:length]
            while (at := laid.length(name)) < len(encoded):
                end = boundary(encoded, min(at + MAX_CHUNK_BYTES, len(encoded)))
                laid = laid.grown(name, end)
                added.append((Chunk(name, at, encoded[at:end].decode()), laid))
        # Each was an event of its own, or of several, between this one and the one before.
        first = event.seq - len(added)
        before = self._last or event
        lines = [
            replace(
                before,
                id=mint_id(),
                epoch=event.epoch,
                seq=first + number,
                run=event.run,
                at=event.at,
                kind=TEXT,
                patch={},
                data=chunk.to_wire(),
                texts=lengths,
                v=TEXT_VERSION,
            )
            for number, (chunk, lengths) in enumerate(added)
        ]
        self._laid, self._last = laid, event
        return [*lines, event if event.texts == laid else replace(event, texts=laid)]
