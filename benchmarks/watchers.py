"""Browsers that read by the real reader's rule, many in one process, each with several feeds, at one of several web processes.

`python -m benchmarks.watchers` takes a line of JSON on its standard input (`fleet.Watchers` writes it), has every browser
watch its feeds, prints `ready`, and answers further lines: `mark` restarts the measurement, `count` returns the progress,
`delays` the delays of events, `end` everything, and ends the process.
"""

from __future__ import annotations

import json
import select
import sys
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.browsers import PONG, STAMP, Connection, connect
from petiole.protocol.events import Event, feed_id
from petiole.protocol.reader import Action, Read, Reader, Reading, Reset, Show
from petiole.protocol.states import is_terminal

EVENT: Final = b'42/petiole,["event",'
RESET: Final = b'42/petiole,["reset",'
ANSWER: Final = b"43/petiole,"
PATIENCE: Final = 120.0
# Thousands at once would be told to retry later, as a page is.
JOINS_AT_ONCE: Final = 128


@dataclass(slots=True)
class Counts:
    """The events of all browsers of the process since the last mark."""

    delays: array[float] = field(default_factory=lambda: array("d"))
    events: int = 0
    bytes: int = 0
    reads: int = 0
    resets: int = 0


@dataclass(slots=True)
class Followed:
    """One feed as one browser reads it. `numbers` are the task's own numbers of its facts."""

    reader: Reader
    numbers: list[int] = field(default_factory=list)


class Browser:
    """One page: a WebSocket, and a reader for each feed. With `reads` off it never reads missed events.

    `swallow`: the n-th event that arrives is dropped unread, as if it had been lost on the way; 0: none.
    """

    def __init__(self, url: str, feeds: Sequence[str], counts: Counts, *, swallow: int, reads: bool) -> None:
        self.connection: Connection = connect("floor", url, "")
        self.connection.send("40/petiole,")
        while not self.connection.next().startswith(b"40/petiole,"):
            pass
        self.feeds = {feed: Followed(Reader(feed)) for feed in feeds}
        self._asked: dict[int, str] = {}
        self._counts = counts
        self._swallow = swallow
        self._reads = reads
        self._arrived = 0

    def begin(self) -> None:
        """Watch every feed."""
        for feed, followed in self.feeds.items():
            followed.reader.start()
            self._ask(feed)
        self.connection.socket.setblocking(False)

    @property
    def joined(self) -> bool:
        return all(followed.reader.cursor is not None for followed in self.feeds.values())

    def take(self, frame: bytes) -> None:
        """Take one frame, by the reader's rule."""
        if frame.startswith(EVENT):
            self._event(frame)
        elif frame.startswith(ANSWER):
            number, _, answer = frame[len(ANSWER) :].partition(b"[")
            [said] = json.loads(b"[" + answer)
            if "error" in said:
                sys.exit(f"A browser was refused: {said['error']}")
            feed = self._asked.pop(int(number))
            self._act(feed, self.feeds[feed].reader.answer(Reading.from_wire(said)))
        elif frame.startswith(RESET):
            [_, said] = json.loads(frame[frame.index(b"[") :])
            self._act(said["feed"], self.feeds[said["feed"]].reader.answer(Reading.from_wire(said)))
        elif frame == b"2":
            self.connection.socket.sendall(PONG)

    def _event(self, frame: bytes) -> None:
        at = frame.find(STAMP)
        if at > 0:
            stamp = int(frame[at + len(STAMP) : at + 28].partition(b"}")[0])
            self._counts.delays.append((time.monotonic_ns() - stamp) / 1e6)
        self._arrived += 1
        if self._arrived == self._swallow:
            return
        self._counts.events += 1
        self._counts.bytes += len(frame)
        [_, said] = json.loads(frame[frame.index(b"[") :])
        event = Event.from_wire(said)
        self._act(event.feed, self.feeds[event.feed].reader.offer(event))

    def _act(self, feed: str, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Show(event):
                    if event.kind == "custom":
                        self.feeds[feed].numbers.append(event.data["data"]["progress"])
                case Read() if self._reads:
                    self._counts.reads += 1
                    self._ask(feed)
                case Reset():
                    self._counts.resets += 1

    def _ask(self, feed: str) -> None:
        number = len(self._asked) + 1
        while number in self._asked:
            number += 1
        self._asked[number] = feed
        cursor = self.feeds[feed].reader.cursor
        asked = {"feed": feed} if cursor is None else {"feed": feed, "cursor": str(cursor)}
        self.connection.send(f"42/petiole,{number}" + json.dumps(["watch", asked]))


def summary(browsers: Sequence[Browser], counts: Counts, busy: float) -> dict[str, Any]:
    """Return the progress: how many feeds have ended for their browser, and at what cost."""
    ended = sum(is_terminal(one.reader.document.get("state")) for browser in browsers for one in browser.feeds.values())
    return {"ended": ended, "events": counts.events, "bytes": counts.bytes, "cpu": time.process_time() - busy}


def everything(browsers: Sequence[Browser], counts: Counts) -> dict[str, Any]:
    """Return the shown facts of each browser and feed, for the check."""
    feeds = [
        {
            "feed": feed,
            "state": one.reader.document.get("state"),
            "facts": one.reader.cursor.facts if one.reader.cursor else 0,
            "chain": one.reader.cursor.chain if one.reader.cursor else "",
            "shown": one.reader.shown,
            "complete": one.reader.complete,
            "numbers": one.numbers,
        }
        for browser in browsers
        for feed, one in browser.feeds.items()
    ]
    return {"feeds": feeds, "delays": list(counts.delays), "reads": counts.reads, "resets": counts.resets}


def main() -> None:
    order = json.loads(sys.stdin.readline())
    counts = Counts()
    poll = select.epoll()
    by_number: dict[int, Browser] = {}
    unasked = list(enumerate(order["browsers"]))
    waiting: set[int] = set()
    deadline = time.monotonic() + PATIENCE
    while unasked or waiting:
        while unasked and len(waiting) < JOINS_AT_ONCE:
            place, (url, feeds) = unasked.pop()
            swallow = order["swallow"] if place == 0 else 0
            browser = Browser(url, feeds, counts, swallow=swallow, reads=order["reads"])
            browser.begin()
            number = browser.connection.socket.fileno()
            by_number[number] = browser
            waiting.add(number)
            poll.register(number, select.EPOLLIN)
        if time.monotonic() > deadline:
            sys.exit(
                f"{len(waiting)} browsers had no answer, as {feed_id(next(iter(by_number[waiting.pop()].feeds)))}."
            )
        for number, _ in poll.poll(1.0):
            for frame in by_number[number].connection.receive():
                by_number[number].take(frame)
            if by_number[number].joined:
                waiting.discard(number)
    browsers = list(by_number.values())
    poll.register(sys.stdin, select.EPOLLIN)
    busy = time.process_time()
    print("ready", flush=True)
    while True:
        for number, _ in poll.poll():
            if number != sys.stdin.fileno():
                browser = by_number[number]
                for frame in browser.connection.receive():
                    browser.take(frame)
                continue
            match sys.stdin.readline().strip():
                case "mark":
                    busy = time.process_time()
                    counts.delays, counts.events, counts.bytes = array("d"), 0, 0
                    answer: dict[str, Any] = {}
                case "count":
                    answer = summary(browsers, counts, busy)
                case "delays":
                    answer = {"delays": list(counts.delays)}
                case _:
                    answer = summary(browsers, counts, busy) | everything(browsers, counts)
                    print(json.dumps(answer), flush=True)
                    return
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
