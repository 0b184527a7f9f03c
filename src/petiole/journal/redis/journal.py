"""The journal in Redis (or Valkey): each verb one Lua script, so that each is one atomic step in one round trip."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from typing import Any

from redis.exceptions import NoScriptError, RedisError

from petiole.errors import InvalidEvent, PetioleError, Refusal, Unavailable
from petiole.journal.answers import (
    Appended,
    Busy,
    Claimed,
    Closed,
    Duplicate,
    Expired,
    Fenced,
    Gone,
    Head,
    Held,
    Missing,
    Snapshot,
    Stored,
)
from petiole.journal.contract import PendingAppend
from petiole.journal.redis import descriptions as scripts
from petiole.journal.redis.descriptions import A, Step
from petiole.journal.redis.inspection import inspect
from petiole.journal.redis.replies import RedisAppend, appended_of, cursor_of, document_of, held_of
from petiole.journal.redis.scripts import Limits, Scripts
from petiole.journal.rules import encode_notice, head_of, read_unknown
from petiole.logs import logger
from petiole.protocol.encoding import to_json
from petiole.protocol.events import (
    PARTITIONS,
    ZERO_CHAIN,
    Cursor,
    Document,
    Draft,
    Event,
    check_feed,
    inbox_feed,
    mint_epoch,
    mint_id,
    partition,
)
from petiole.protocol.reader import Reading
from petiole.redis.client import connect
from petiole.redis.cluster import Cluster
from petiole.redis.connections import Calls, Command, Replies
from petiole.redis.errors import translate_errors, translated
from petiole.redis.keys import FEED_KEYS, Keys
from petiole.settings import Settings

log = logger(__name__)


class RedisJournal:
    """`Journal` on a Redis server ≥ 6.2. What its AOF had not synced when it died is lost with it; writers send it again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = connect(settings)
        self._call = Calls(self._client)
        self._cluster = isinstance(self._client, Cluster)
        self._names = Keys(settings.key_prefix, self._client)
        live, kept, lease = (
            round(seconds * 1000) for seconds in (settings.live_kept_for, settings.kept_for, settings.lease)
        )
        limits = Limits(settings.facts_kept, settings.bytes_kept, live, kept, lease)
        self._script = Scripts(limits, cluster=self._cluster).get

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
        if feed.startswith("task:"):
            # At once: a caller that chose the epoch has minted the feed, or asks again after a lost reply.
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
        arguments = scripts.Open(epoch, owner, _ms_or_none(lease), message, publication, "01"[replayed])
        return scripts.OPEN.step(self._names.feed(feed), arguments, self._event(feed, draft, run=0))

    def confirm(self, feed: str, *, run: int = 0, wait: bool = True, lease: float | None = None) -> None:
        meta, *_, leases, _ = self._names.feed(feed)
        step = scripts.CONFIRM.step([meta, leases], scripts.Confirm(feed, str(run), _ms_or_none(lease)))
        if wait:
            self._run(*step)
            return
        with translate_errors(self._settings.journal_url):
            # With its source: nobody would send it again if the server didn't know it.
            self._call.tell(self._command("EVAL", *step))

    def append(
        self, feed: str, draft: Draft, *, run: int = 0, fact: int = 0, counter: int = 0, delivery: str = ""
    ) -> Appended:
        return appended_of(self._run(*self._to_append(feed, draft, run, fact, counter, delivery)))

    def append_async(
        self, feed: str, draft: Draft, *, run: int = 0, fact: int = 0, counter: int = 0, delivery: str = ""
    ) -> PendingAppend | None:
        step = self._to_append(feed, draft, run, fact, counter, delivery)
        try:
            replies = self._call.begin_now(self._command("EVALSHA", *step))
        except (RedisError, OSError) as error:
            raise translated(error, self._settings.journal_url) from error
        return None if replies is None else RedisAppend(replies, functools.partial(self._answer, replies, step))

    def _to_append(self, feed: str, draft: Draft, run: int, fact: int, counter: int, delivery: str) -> Step:
        arguments = scripts.Append(str(fact), str(counter), delivery, draft.successor)
        return scripts.APPEND.step(self._names.feed(feed), arguments, self._event(feed, draft, run=run))

    def read(self, feed: str, cursor: Cursor | None, *, limit: int) -> Reading | None:
        held = cursor or Cursor("", 0, 0, ZERO_CHAIN)
        arguments = scripts.Read(held.epoch, str(held.seq), str(held.facts), held.chain, str(limit), feed)
        reply = self._run(*scripts.READ.step(self._names.feed(feed)[:3], arguments))
        if not reply:
            return read_unknown(feed, cursor)
        head = cursor_of(reply)
        recovered = reply[4] == 1
        start = Cursor(head.epoch, 0, int(reply[8][0]), reply[8][1].decode()) if reply[8] else None
        try:
            events = tuple(Event.from_text(text) for text in reply[7])
        except InvalidEvent as error:
            # Set aside as a whole: a reader that can't be told every fact is told so, and gets the document.
            log.error("fact_unreadable", extra={"feed": feed, "error": str(error)})
            recovered, events, start = False, (), None
        more = bool(events) and events[-1].facts < head.facts
        return Reading(
            feed=feed,
            document=document_of(reply[6]),
            events=events,
            cursor=events[-1].cursor if more else head,
            recovered=recovered,
            more=more,
            start=start,
        )

    def claim(
        self,
        feed: str,
        draft: Draft,
        *,
        worker: str,
        delivery: str,
        retries: int,
        lease: float,
        failed: Draft | None = None,
        message: str = "",
        publication: str = "",
        replayed: bool = False,
    ) -> Claimed | Busy | Closed | Missing:
        arguments = scripts.Claim(worker, delivery, str(retries), _ms(lease), message, publication, "01"[replayed])
        events = self._event(feed, draft, run=0)
        if failed is not None:
            events += self._event(feed, failed, run=0)
        reply = self._run(*scripts.CLAIM.step(self._names.feed(feed), arguments, events))
        match reply[0]:
            case b"claimed":
                return Claimed(
                    run=int(reply[6]),
                    facts_written=int(reply[7]),
                    cursor=cursor_of(reply[1:]),
                    document=document_of(reply[8]),
                    cancel=reply[5] > 0,
                )
            case b"busy":
                return Busy(int(reply[1]), int(reply[2]) / 1000)
            case b"closed":
                return Closed(reply[1].decode())
            case _:
                return Missing()

    def renew(self, worker: str, feeds: Sequence[str], *, lease: float) -> dict[str, Held]:
        held: dict[str, Held] = {}
        refused: Refusal | None = None
        for index, group in _by_partition(feeds):
            keys = [self._names.leases(index)]
            for feed in group:
                keys += self._names.feed(feed)[: len(FEED_KEYS)]
            step = scripts.RENEW.step(keys, scripts.Renew(worker, _ms(lease), _ms(self._settings.live_kept_for)), group)
            try:
                for feed, reply in zip(group, self._run(*step), strict=True):
                    held[feed] = held_of(reply)
            except Refusal as error:
                refused = error  # the other partitions' tasks are alive all the same
        if refused is not None and not held:
            raise refused
        return held

    def check(self, feed: str, run: int, *, delivery: str = "", lease: float | None = None) -> Held:
        meta, *_, leases, _ = self._names.feed(feed)
        arguments = scripts.Check(str(run), delivery, _ms_or_none(lease), feed)
        return held_of(self._run(*scripts.CHECK.step([meta, leases], arguments)))

    def message(self, feed: str) -> str:
        with translate_errors(self._settings.journal_url):
            message = self._call(("GET", self._names.feed(feed)[FEED_KEYS.index("message")]))[0]
        return (message or b"").decode()

    def expired(self, *, limit: int) -> list[Expired]:
        leases = [self._names.leases(index) for index in range(PARTITIONS)]
        longest, own = _ms(self._settings.longest_lease), _ms(self._settings.lease)
        feeds = self._members(scripts.EXPIRED, leases, scripts.ExpiredFeeds(str(limit), longest, own))
        heads = self.heads(feeds)
        found = ((feed, heads.get(feed)) for feed in feeds)
        return [Expired(feed, head.run if head else 0, head is not None and head.waits) for feed, head in found]

    def conclude(self, feed: str, run: int, draft: Draft, *, lease: float | None = None) -> Appended:
        arguments = scripts.Conclude(str(run), _ms_or_none(lease))
        step = scripts.CONCLUDE.step(self._names.feed(feed), arguments, self._event(feed, draft, run=0))
        return appended_of(self._run(*step))

    def rebase(
        self,
        feed: str,
        *,
        owner: str,
        run: int,
        delivery: str,
        retries: int,
        last: Cursor,
        fact: int,
        document: Document,
        worker: str,
        lease: float,
        message: str = "",
        publication: str = "",
    ) -> Cursor | Fenced | Closed:
        arguments = scripts.Rebase(
            epoch=mint_epoch(),
            owner=owner,
            run=str(run),
            delivery=delivery,
            retries=str(retries),
            fact=str(fact),
            seq=str(last.seq),
            facts=str(last.facts),
            chain=last.chain,
            state=document.get("state") or "",
            worker=worker,
            lease=_ms(lease),
            lifetime=_ms(self._settings.live_kept_for),
            feed=feed,
            message=message,
            publication=publication,
        )
        fields = [text for name, value in document.items() for text in (name, to_json(value))]
        reply = self._run(*scripts.REBASE.step(self._names.feed(feed), arguments, fields))
        match reply[0]:
            case b"fenced":
                return Fenced(int(reply[1]))
            case b"closed":
                return Closed(reply[1].decode())
            case _:
                self._index(owner, feed)
                return cursor_of(reply[1:])

    def cancel(self, feed: str, *, cancelling: Draft, cancelled: Draft, force: bool = False) -> Appended:
        events = [*self._event(feed, cancelling, run=0), *self._event(feed, cancelled, run=0)]
        step = scripts.CANCEL.step(self._names.feed(feed), scripts.Cancel("01"[force]), events)
        return appended_of(self._run(*step))

    def heads(self, feeds: Sequence[str]) -> dict[str, Head]:
        if not feeds:
            return {}
        order: list[str] = []
        steps: list[Step] = []
        for index, group in _by_partition(feeds):
            keys = [self._names.leases(index), *(self._names.feed(feed)[0] for feed in group)]
            steps.append(scripts.HEADS.step(keys, scripts.Heads(), group))
            order += group
        replies = [reply for answer in self._together(*steps) for reply in answer]
        heads: dict[str, Head] = {}
        for feed, reply in zip(order, replies, strict=True):
            # As with a key that isn't a hash: what is spoiled hides its own feed only.
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
        groups = [group for _, group in _by_partition(known)]
        steps: list[Step] = [
            scripts.CHANGED_HEADS.step(
                [self._names.feed(feed)[0] for feed in group],
                scripts.ChangedHeads(),
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

    def snapshot(self, feed: str) -> Snapshot | None:
        return self._snapshots([feed])[0]

    def _snapshots(self, feeds: Sequence[str]) -> list[Snapshot | None]:
        nothing = scripts.ReadDocument()
        steps = (scripts.SNAPSHOT.step(self._names.feed(feed)[:2], nothing) for feed in feeds)
        replies = self._together(*steps)
        return [
            Snapshot(feed, reply[4].decode(), cursor_of(reply), document_of(reply[5])) if reply else None
            for feed, reply in zip(feeds, replies, strict=True)
        ]

    def forget(self, feed: str) -> None:
        self._run(*scripts.FORGET.step(self._names.feed(feed), scripts.Forget(feed)))

    def remove(self, feed: str) -> None:
        arguments = scripts.Remove(feed, _ms(self._settings.live_kept_for))
        self._run(*scripts.REMOVE.step(self._names.feed(feed), arguments))

    def pending(self, *, limit: int) -> Sequence[str]:
        keys = [self._names.pending(index) for index in range(PARTITIONS)]
        return self._members(scripts.PENDING, keys, scripts.Pending(str(limit)))

    def _members(self, script: scripts.Description[A], keys: Sequence[str], arguments: A) -> list[str]:
        """Return what a script finds in the keys of all partitions, in one step where one server has them all."""
        groups = [[key] for key in keys] if self._cluster else [keys]
        answers = self._together(*(script.step(group, arguments) for group in groups))
        return [member.decode() for answer in answers for members in answer for member in members]

    def settle(self, feed: str) -> None:
        with translate_errors(self._settings.journal_url):
            self._call(("ZREM", self._names.feed(feed)[-1], feed))

    def notify(self, owner: str, *, key: str, notice: Document) -> Stored | Duplicate:
        feed, text = inbox_feed(owner), encode_notice(notice)
        arguments = scripts.Notify(owner, self._names.channel(feed), feed, mint_id(), check_feed(key), text)
        return self._write_inbox(scripts.NOTIFY.step(self._names.inbox(feed), arguments))

    def acknowledge(self, owner: str, keys: Sequence[str] | None) -> Stored | Duplicate:
        feed, chosen = inbox_feed(owner), [check_feed(key) for key in keys or ()]
        arguments = scripts.Acknowledge(owner, self._names.channel(feed), feed, mint_id(), "01"[keys is None])
        return self._write_inbox(scripts.ACKNOWLEDGE.step(self._names.inbox(feed), arguments, chosen))

    def _write_inbox(self, step: Step) -> Stored | Duplicate:
        reply = appended_of(self._run(*step))
        assert isinstance(reply, Stored | Duplicate)
        return reply

    def note(self, name: str, text: str, *, instead_of: str, lasts: float) -> str:
        step = scripts.NOTE.step([self._names.note(name)], scripts.Note(instead_of, text, _ms(lasts)))
        before: bytes = self._run(*step)
        return before.decode()

    def notes(self, names: Sequence[str]) -> dict[str, str]:
        if not names:
            return {}
        with translate_errors(self._settings.journal_url):
            texts = self._call(*(("GET", self._names.note(name)) for name in names))
        return {name: text.decode() for name, text in zip(names, texts, strict=True) if text is not None}

    def ping(self) -> None:
        with translate_errors(self._settings.journal_url):
            if isinstance(self._client, Cluster):
                self._client.ping()
            else:
                # With what only scripts use, of which they say no more than that it isn't allowed.
                self._call(("PING",), ("TIME",), ("PUBLISH", self._names.channel("group:petiole-ping"), ""))

    def inspect(self) -> Sequence[str]:
        try:
            with translate_errors(self._settings.journal_url):
                return inspect(self._client, self._settings.journal_url)
        except PetioleError as error:
            return (str(error),)

    def close(self) -> None:
        self._call.close()
        self._client.close()

    def _run(self, name: str, keys: Sequence[str], arguments: Sequence[str]) -> Any:
        return self._together((name, keys, arguments))[0]

    def _together(self, *steps: Step) -> Sequence[Any]:
        """Run scripts in one round trip and in their order; each is a step of its own, and may be run twice."""
        commands = [self._command("EVALSHA", *step) for step in steps]
        return self._answer(functools.partial(self._call, *commands), *steps)

    def _answer(self, replies: Replies, *steps: Step) -> Sequence[Any]:
        """Wait for the replies to these steps; a server that doesn't know the scripts is given them."""
        try:
            return replies()
        except NoScriptError:
            with translate_errors(self._settings.journal_url):
                return self._call(*(self._command("EVAL", *step) for step in steps))
        except (RedisError, OSError) as error:
            raise translated(error, self._settings.journal_url) from error

    def _command(self, word: str, name: str, keys: Sequence[str], arguments: Sequence[str]) -> Command:
        found = self._script(name)
        return (word, found.digest if word == "EVALSHA" else found.source, str(len(keys)), *keys, *arguments)

    def _index(self, owner: str, feed: str) -> None:
        if feed.startswith("task:"):
            self._run(*self._to_index(owner, feed))

    def _to_index(self, owner: str, feed: str) -> Step:
        # In the owner's partition, so in a step of its own: the index is a hint. It lists tasks.
        arguments = scripts.Index(feed, _ms(self._settings.live_kept_for))
        return scripts.INDEX.step([self._names.owner(owner)], arguments)

    def _event(self, feed: str, draft: Draft, *, run: int) -> list[str]:
        encoded = draft.encode()
        patch = [text for pair in encoded.patch.items() for text in pair]
        event = scripts.EventArguments(
            channel=self._names.channel(feed),
            feed=feed,
            run=str(run),
            id=encoded.id,
            fact="01"[encoded.is_fact],
            body=encoded.body,
            progress=encoded.progress,
            state=draft.state or "",
            size=str(len(patch)),
        )
        return [*event, *patch]

    def list(self, owner: str, *, limit: int, before: int | None = None) -> tuple[list[Snapshot], int | None]:
        key = self._names.owner(owner)
        top = "+inf" if before is None else f"({before}"
        with translate_errors(self._settings.journal_url):
            [rows] = self._call(("ZREVRANGEBYSCORE", key, top, "-inf", "WITHSCORES", "LIMIT", "0", str(limit)))
        feeds = [member.decode() for member in rows[::2]]
        found = self._readable(feeds)
        gone = [feed for feed, snapshot in found.items() if snapshot is None or snapshot.owner != owner]
        if gone:
            with translate_errors(self._settings.journal_url):
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


def _by_partition(feeds: Iterable[str]) -> Iterable[tuple[int, list[str]]]:
    for index, group in groupby(sorted(feeds, key=partition), key=partition):
        yield index, list(group)


def _ms(seconds: float) -> str:
    return str(round(seconds * 1000))


def _ms_or_none(seconds: float | None) -> str:
    return "" if seconds is None else _ms(seconds)
