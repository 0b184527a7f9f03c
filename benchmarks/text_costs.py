"""T3 to T5: what a text costs in the worker and in Redis, and how long a reader waits for the whole of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import redis
from flask_socketio import SocketIO

from benchmarks.browsers import connect
from benchmarks.joining import join
from benchmarks.report import Row, alone, compared
from benchmarks.site import RIVALS, quantile, redis_server, running
from benchmarks.steps import FEED, run_of_a_task
from benchmarks.tokens import SIZE, TOKEN
from petiole.journal.redis.journal import RedisJournal
from petiole.protocol.events import Draft, task_feed
from petiole.protocol.texts import MAX_CHUNK_BYTES, Chunk, Texts
from petiole.settings import Settings
from petiole.worker.outbox import Outbox
from petiole.worker.progress import progress
from petiole.worker.silent_outbox import SilentOutbox

ROUNDS: Final = 5
# T3: the worker, at rates at which ever more tokens are sent together.
WORKER_RATES: Final = (20, 100, 200, 1000)
WORKER_SECONDS: Final = 2.0
# The same without pauses. All rounds together stay below PETIOLE_TEXT_LIMIT.
UNPACED: Final = 5000
# T4: an answer of 20,000 tokens, in the pieces in which it is appended.
ANSWER: Final = 80_000
PIECE: Final = 160
ANSWERS: Final = 20
# T5
WHOLE: Final = 1024 * 1024
JOINS: Final = 100


def worker() -> Iterator[Row]:
    """Measure the CPU of a token in the worker's process, its outbox included, minus that of the pauses."""
    rates = (*WORKER_RATES, None)
    found: dict[str, dict[int | None, list[float]]] = {kind: {rate: [] for rate in rates} for kind in RIVALS}
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory)) as url, run_of_a_task(url) as run:
        emitter = SocketIO(message_queue=url)
        ways = {
            "petiole": lambda: progress.write(TOKEN),
            "plain": lambda: emitter.emit("token", {"token": TOKEN, "stamp": time.monotonic_ns()}, to=FEED),
        }
        for number in range(ROUNDS):
            for rate in rates:
                for kind, say in ways.items():
                    found[kind][rate].append(microseconds(say, rate, run.outbox))
            said = ", ".join(
                f"{rate or 'unpaced'}: {found['petiole'][rate][-1]:.1f} µs, plain {found['plain'][rate][-1]:.1f} µs"
                for rate in rates
            )
            print(f"worker, round {number + 1}: {said}", flush=True)
    for rate in rates:
        pace = "without pauses" if rate is None else f"one stream at {rate:,} tokens/s"
        what = f"CPU in the worker for each token, {pace} (rival: the plain emitter's emit)"
        yield compared("T3", what, "µs", found["petiole"][rate], found["plain"][rate], limit=0.1)


def microseconds(say: Callable[[], object], rate: int | None, outbox: Outbox | SilentOutbox) -> float:
    """Return the CPU of the whole process for a call, minus that of the pauses."""
    count = UNPACED if rate is None else int(rate * WORKER_SECONDS)
    begun = time.process_time()
    for _ in range(count):
        say()
        if rate is not None:
            time.sleep(1 / rate)
    outbox.flush(5.0)
    busy = time.process_time() - begun
    begun = time.process_time()
    for _ in range(count):
        if rate is not None:
            time.sleep(1 / rate)
    return (busy - (time.process_time() - begun)) / count * 1e6


def memory() -> Iterator[Row]:
    """Measure what Redis needs for an answer: while its task runs, and after its end."""
    text = TOKEN * (ANSWER // SIZE)
    during: list[float] = []
    after: list[float] = []
    with tempfile.TemporaryDirectory() as directory, redis_server(Path(directory)) as url:
        journal = RedisJournal(Settings(journal_url=url))
        with redis.Redis.from_url(url) as client:
            for number in range(ROUNDS):
                before = client.info("memory")["used_memory"]
                feeds = [task_feed(f"answer-{number}-{index:03}") for index in range(ANSWERS)]
                for feed in feeds:
                    claimed(journal, feed)
                    append(journal, feed, text, piece=PIECE)
                during.append((client.info("memory")["used_memory"] - before) / ANSWERS / ANSWER)
                for feed in feeds:
                    texts = {"output": {"length": ANSWER, "sha256": "0" * 64}}
                    end = Draft("state", {"state": "succeeded", "texts": texts})
                    journal.append(feed, end, run=1, fact=2, texts=Texts.of(1, {"output": ANSWER}))
                after.append((client.info("memory")["used_memory"] - before) / ANSWERS / ANSWER)
    what = f"Redis memory of a task with an answer of {ANSWER:,} bytes, all of its keys, by the text's length"
    yield alone("T4", f"{what}: after its end", "×", after, limit=1.3)
    yield alone("T4", "the same: while it runs", "×", during)


def claimed(journal: RedisJournal, feed: str) -> None:
    journal.open(feed, owner="user:reader", draft=Draft("state", {"state": "queued", "title": "Answer"}))
    journal.claim(feed, Draft("state", {"state": "running"}), worker="here", delivery=feed, retries=0, lease=86400.0)


def append(journal: RedisJournal, feed: str, text: str, *, piece: int) -> None:
    """Append a text of ASCII characters to a claimed feed, in pieces of so many bytes."""
    for at in range(0, len(text), piece):
        draft = Draft.of_text(Chunk("output", at, text[at : at + piece]))
        journal.append(feed, draft, run=1, fact=1, texts=Texts.of(1, {"output": at}))


def joining() -> Iterator[Row]:
    """Measure how long a browser that is connected waits for the whole of a long text."""
    taken: list[float] = []
    with running("petiole") as site:
        other, room = site.rooms(2)
        journal = RedisJournal(Settings(journal_url=site.redis_url))
        append(journal, room, TOKEN * (WHOLE // SIZE), piece=MAX_CHUNK_BYTES)
        for _ in range(JOINS):
            connection = connect("petiole", site.url, other)
            begun = time.perf_counter()
            join(connection, room)
            taken.append((time.perf_counter() - begun) * 1000)
            connection.socket.close()
    for share in (0.5, 0.99):
        yield alone("T5", f"joining a text of 1 MiB, p{share * 100:.0f}", "ms", [quantile(taken, share)])
