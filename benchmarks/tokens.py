"""The worker side of many streams at once: tokens at a steady rate, all that are due in one round trip.

Each stream's tokens are merged as the outbox merges them; the plain pattern emits each by itself. `feeder.py` says why one
process stands for many workers. A token is written when it is due, however late it is sent.

`python -m benchmarks.tokens petiole|plain URL RATE SECONDS BEFORE ROOMS…`: so many tokens a second to each room, which has had
`BEFORE` of them. It prints when the first was due, how many there were, the time and the cost.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from benchmarks.feeder import MOST_AT_ONCE, JournalSource, PlainSource
from petiole.protocol.events import Draft
from petiole.protocol.texts import Chunk, Texts
from petiole.settings import Settings

# Models' tokens have four characters on average in English.
TOKEN: Final = "tok "
SIZE: Final = len(TOKEN)


def due_at(begun: int, index: int, number: int, *, rate: float, rooms: int, first: int = 0) -> int:
    """Return when a token of the index-th room is written, in nanoseconds; the one with the number `first` begins."""
    return begun + int((number - first + index / rooms) / rate * 1e9)


def steadily(
    say: Callable[[int], object], send: Callable[[], object], *, begun: int, interval: float, steps: int
) -> None:
    """Call `say` with 0, 1, 2, … when each is due, and `send` after all that were due at once."""
    done = 0
    while done < steps:
        passed = (time.monotonic_ns() - begun) / 1e9
        due = min(int(passed / interval) + 1, steps)
        if due <= done:
            time.sleep(max(done * interval - passed, 0.0))
            continue
        for number in range(done, min(due, done + MOST_AT_ONCE)):
            say(number)
            done += 1
        send()


def feed_petiole(url: str, rooms: Sequence[str], *, begun: int, rate: float, tokens: int, before: int) -> None:
    """Append to each room's text at most `PETIOLE_TEXTS_PER_SECOND` times a second what is due."""
    source = JournalSource(url, rooms)
    pause = 1 / Settings().texts_per_second
    written = [0] * len(rooms)

    def append(step: int) -> None:
        index = step % len(rooms)
        passed = (time.monotonic_ns() - begun) / 1e9
        due = max(min(int(passed * rate - index / len(rooms)) + 1, tokens), 0)
        if due > written[index]:
            at = (before + written[index]) * SIZE
            draft = Draft.of_text(Chunk("output", at, TOKEN * (due - written[index])))
            source.append(rooms[index], draft, fact=1, texts=Texts.of(1, {"output": at}))
            written[index] = due

    # A turn of every room after the last token was due.
    turns = int(tokens / rate / pause) + 2
    steadily(append, source.send, begun=begun, interval=pause / len(rooms), steps=turns * len(rooms))


def feed_plain(url: str, rooms: Sequence[str], *, begun: int, rate: float, tokens: int) -> None:
    """Emit each token to its room when it is due."""
    source = PlainSource(url)

    def emit(step: int) -> None:
        number, index = divmod(step, len(rooms))
        stamp = due_at(begun, index, number, rate=rate, rooms=len(rooms))
        source.emit("token", {"token": TOKEN, "stamp": stamp}, namespace="/", room=rooms[index])

    steadily(emit, source.send, begun=begun, interval=1 / rate / len(rooms), steps=tokens * len(rooms))


def main() -> None:
    kind, url, rate, seconds, before, *rooms = sys.argv[1:]
    tokens = int(float(rate) * float(seconds))
    begun, busy = time.monotonic_ns(), time.process_time()
    if kind == "petiole":
        feed_petiole(url, rooms, begun=begun, rate=float(rate), tokens=tokens, before=int(before))
    else:
        feed_plain(url, rooms, begun=begun, rate=float(rate), tokens=tokens)
    taken = (time.monotonic_ns() - begun) / 1e9
    print(json.dumps({"begun": begun, "tokens": tokens, "seconds": taken, "cpu": time.process_time() - busy}))


if __name__ == "__main__":
    main()
