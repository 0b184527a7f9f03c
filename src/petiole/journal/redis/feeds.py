"""Feeds in Redis: open, append, read, heads, lists, removal."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from redis.exceptions import RedisError

from petiole.errors import InvalidEvent, MissingRight, PetioleError, Refusal, Unavailable
from petiole.journal.answers import (
    Appended,
    Gone,
    Head,
    Snapshot,
)
from petiole.journal.contract import PendingAppend
from petiole.journal.redis import calls
from petiole.journal.redis.description import Step
from petiole.journal.redis.replies import RedisPending, appended_of, cursor_of, document_of, texts_of
from petiole.journal.redis.store import RedisStore, by_partition, ms, ms_or_none
from petiole.journal.rules import head_of, read_unknown
from petiole.journal.texts import chunks_of
from petiole.logs import logger
from petiole.protocol.events import (
    ZERO_CHAIN,
    Cursor,
    Draft,
    Event,
    mint_epoch,
)
from petiole.protocol.reader import Reading
from petiole.protocol.texts import NO_TEXTS, Span, Texts
from petiole.redis.errors import translate_errors, translated

log = logger(__name__)


class RedisFeeds(RedisStore):
    """`Feeds` in Redis, and `SupportsAsync`."""

    def open(
        self,
        feed: str,
        *,
        owner: str,
        draft: Draft,
        lease: float | None = None,
        epoch: str | None = None,
        message: str = "",
        publication: str = "",
        replayed: bool = False,
    ) -> Cursor:
        step = self._to_open(feed, owner, draft, lease, epoch or mint_epoch(), message, publication, replayed=replayed)
        if epoch is not None:
            return self._open_async(step, owner, feed)()
        reply = self._run(*step)
        if reply[0] == b"opened":
            self._index(owner, feed)
        return cursor_of(reply[1:])

    def open_async(
        self,
        feed: str,
        *,
        owner: str,
        draft: Draft,
        epoch: str,
        lease: float | None = None,
        message: str = "",
        publication: str = "",
    ) -> Callable[[], Cursor]:
        step = self._to_open(feed, owner, draft, lease, epoch, message, publication, replayed=False)
        return self._open_async(step, owner, feed)

    def _open_async(self, step: Step, owner: str, feed: str) -> Callable[[], Cursor]:
        steps = [step]
        if not feed.startswith("user:"):
            # In the same round trip: a caller that chose the epoch has minted the feed, or repeats a call whose reply was lost.
            steps.append(self._to_index(owner, feed))
        with translate_errors(self._settings.journal_url):
            replies = self._call.begin(*(self._command("EVALSHA", *step) for step in steps))
        return lambda: cursor_of(self._answer(replies, *steps)[0][1:])

    def _to_open(
        self,
        feed: str,
        owner: str,
        draft: Draft,
        lease: float | None,
        epoch: str,
        message: str,
        publication: str,
        *,
        replayed: bool,
    ) -> Step:
        arguments = calls.Open(epoch, owner, ms_or_none(lease), message, publication, "01"[replayed])
        return calls.OPEN.step(self._names.feed(feed), arguments, self._event(feed, draft, run=0))

    def append(
        self,
        feed: str,
        draft: Draft,
        *,
        run: int = 0,
        fact: int = 0,
        counter: int = 0,
        delivery: str = "",
        texts: Texts = NO_TEXTS,
    ) -> Appended:
        return appended_of(self._run(*self._to_append(feed, draft, run, fact, counter, delivery, texts)))

    def append_async(
        self,
        feed: str,
        draft: Draft,
        *,
        run: int = 0,
        fact: int = 0,
        counter: int = 0,
        delivery: str = "",
        texts: Texts = NO_TEXTS,
    ) -> PendingAppend | None:
        step = self._to_append(feed, draft, run, fact, counter, delivery, texts)
        try:
            replies = self._call.begin_now(self._command("EVALSHA", *step))
        except (RedisError, OSError) as error:
            raise translated(error, self._settings.journal_url) from error
        return (
            None
            if replies is None
            else RedisPending(replies, functools.partial(self._answer, replies, step), appended_of)
        )

    def _to_append(
        self, feed: str, draft: Draft, run: int, fact: int, counter: int, delivery: str, texts: Texts
    ) -> Step:
        chunk = draft.chunk
        within = counter if chunk is None else chunk.at
        arguments = calls.Append(str(fact), str(within), delivery, draft.successor, str(texts))
        return calls.APPEND.step(self._names.feed(feed), arguments, self._event(feed, draft, run=run))

    def read(self, feed: str, cursor: Cursor | None, *, limit: int, texts: bool = True) -> Reading | None:
        held = cursor or Cursor("", 0, 0, ZERO_CHAIN)
        lengths = str(held.texts) if texts else calls.NO_READER
        arguments = calls.Read(held.epoch, str(held.seq), str(held.facts), held.chain, str(limit), feed, lengths)
        reply = self._run(*calls.READ.step(self._names.feed(feed)[:3], arguments))
        if not reply:
            return read_unknown(feed, cursor)
        head = cursor_of(reply)
        recovered = reply[4] == 1
        start = Cursor(head.epoch, 0, int(reply[8][0]), reply[8][1].decode()) if reply[8] else None
        try:
            events = tuple(Event.from_text(text) for text in reply[7])
        except InvalidEvent as error:
            # All of them are left out: a reader that can't have every fact is told so, and gets the document.
            log.error("fact_unreadable", extra={"feed": feed, "error": str(error)})
            recovered, events, start = False, (), None
        more = bool(events) and events[-1].facts < head.facts
        written = texts_of(reply[9])
        found = [(Span(name.decode(), at, end), text) for name, at, end, text in reply[10]]
        has = (held.texts if recovered else NO_TEXTS) if texts else written
        chunks, brought = chunks_of(written, has, found)
        return Reading(
            feed=feed,
            document=document_of(reply[6]),
            events=events,
            cursor=(events[-1].cursor if more else head).at_texts(brought),
            recovered=recovered,
            more=more or brought != written,
            start=start,
            chunks=chunks,
        )

    def text(self, feed: str, name: str) -> str | None:
        snapshot = self.snapshot(feed)
        if snapshot is None or not snapshot.cursor.texts.length(name):
            return None
        with translate_errors(self._settings.journal_url):
            [text] = self._call(("GET", self._names.text(feed, name)))
        return None if text is None else text.decode(errors="replace")

    def heads(self, feeds: Sequence[str]) -> dict[str, Head]:
        if not feeds:
            return {}
        order: list[str] = []
        steps: list[Step] = []
        for index, group in by_partition(feeds):
            keys = [self._names.leases(index), *(self._names.feed(feed)[0] for feed in group)]
            steps.append(calls.HEADS.step(keys, calls.Heads(), group))
            order += group
        replies = [reply for answer in self._together(*steps) for reply in answer]
        heads: dict[str, Head] = {}
        for feed, reply in zip(order, replies, strict=True):
            # As with a key that isn't a hash: a spoiled key hides its own feed only.
            with suppress(Refusal, TypeError, AttributeError, ValueError):
                if reply:
                    left = None if reply[7] == b"" else int(reply[7]) / 1000
                    head = Head(
                        cursor_of(reply),
                        reply[4].decode() or None,
                        reply[5].decode(),
                        int(reply[6]),
                        left,
                        reply[8] == 1,
                    )
                    heads[feed] = head
        return heads

    def changed_heads(self, known: Mapping[str, Cursor | None]) -> dict[str, Cursor | Gone]:
        if not known:
            return {}
        groups = [group for _, group in by_partition(known)]
        steps: list[Step] = [
            calls.CHANGED_HEADS.step(
                [self._names.feed(feed)[0] for feed in group],
                calls.ChangedHeads(),
                [str(known[feed] or "") for feed in group],
            )
            for group in groups
        ]
        changed: dict[str, Cursor | Gone] = {}
        for group, answer in zip(groups, self._together(*steps), strict=True):
            for number, *values in answer:
                feed = group[number - 1]
                try:
                    head = (cursor_of(values) if values[4] else Gone.REMOVED) if values else head_of(feed, None)
                except Refusal:
                    head = Gone.UNKNOWN  # as in `heads`
                if head != known[feed]:
                    changed[feed] = head
        return changed

    def _snapshots(self, feeds: Sequence[str]) -> list[Snapshot | None]:
        nothing = calls.ReadDocument()
        steps = (calls.SNAPSHOT.step(self._names.feed(feed)[:2], nothing) for feed in feeds)
        replies = self._together(*steps)
        return [
            Snapshot(feed, reply[4].decode(), cursor_of(reply).at_texts(texts_of(reply[6])), document_of(reply[5]))
            if reply
            else None
            for feed, reply in zip(feeds, replies, strict=True)
        ]

    def snapshot(self, feed: str) -> Snapshot | None:
        return self._snapshots([feed])[0]

    def forget(self, feed: str) -> None:
        self._run(*calls.FORGET.step(self._names.feed(feed), calls.Forget(feed)))

    def remove(self, feed: str) -> None:
        arguments = calls.Remove(feed, ms(self._settings.live_kept_for))
        self._run(*calls.REMOVE.step(self._names.feed(feed), arguments))

    def list(self, owner: str, *, limit: int, before: int | None = None) -> tuple[list[Snapshot], int | None]:
        key = self._names.owner(owner)
        top = "+inf" if before is None else f"({before}"
        with translate_errors(self._settings.journal_url):
            [rows] = self._call(("ZREVRANGEBYSCORE", key, top, "-inf", "WITHSCORES", "LIMIT", "0", str(limit)))
        feeds = [member.decode() for member in rows[::2]]
        found = self._readable(feeds)
        gone = [feed for feed, snapshot in found.items() if snapshot is None or snapshot.owner != owner]
        if gone:
            # Who may only read leaves the index as it is.
            with suppress(MissingRight), translate_errors(self._settings.journal_url):
                self._call(("ZREM", key, *gone))
        snapshots = [snapshot for snapshot in found.values() if snapshot is not None and snapshot.owner == owner]
        return snapshots, int(rows[-1]) if len(feeds) == limit else None

    def _readable(self, feeds: Sequence[str]) -> dict[str, Snapshot | None]:
        """Return the snapshots of those feeds that can be read."""
        try:
            return dict(zip(feeds, self._snapshots(feeds), strict=True)) if feeds else {}
        except PetioleError as error:
            if isinstance(error, Unavailable) and not isinstance(error, Refusal):
                raise
            if len(feeds) == 1:
                log.error("feed_unreadable", extra={"feed": feeds[0], "error": str(error)})
                return {}
            return {feed: snapshot for one in feeds for feed, snapshot in self._readable([one]).items()}
