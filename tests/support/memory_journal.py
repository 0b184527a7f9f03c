"""The journal in one process's memory, for tests. It ends with its process."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from petiole.bus.contract import Ring
from petiole.journal import rules
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
from petiole.journal.rules import INBOX_KEPT, INBOX_START, encode_notice, read_unknown
from petiole.journal.texts import chunks_of, spans_after
from petiole.protocol import states
from petiole.protocol.encoding import to_json
from petiole.protocol.events import (
    VERSION,
    ZERO_CHAIN,
    Cursor,
    Document,
    Draft,
    Event,
    advance_chain,
    check_feed,
    fold,
    inbox_feed,
    is_group,
    mint_epoch,
)
from petiole.protocol.reader import Reading
from petiole.protocol.texts import NO_TEXTS, TEXT_VERSION, Texts
from petiole.settings import Settings
from tests.support.memory_groups import KeptGroup, MemoryGroups, no_group


@dataclass(slots=True)
class _Feed:
    owner: str
    epoch: str
    opened: int
    seq: int = 0
    facts: int = 0
    chain: str = ZERO_CHAIN
    document: Document = field(default_factory=dict)
    kept: list[tuple[Event, int]] = field(default_factory=list)
    # The chain before the first of those.
    before: str = ZERO_CHAIN
    run: int = 0
    fact: int = 0
    counter: int = 0
    live: bool = False
    cancel: int = 0
    retries: int = 0
    silent: int = 0
    delivery: str = ""
    publication: str = ""
    spent: str = ""
    worker: str = ""
    message: str = ""
    removed: bool = False
    waits: bool = False
    lease_ends: float | None = None
    texts: Texts = NO_TEXTS
    written: dict[str, bytearray] = field(default_factory=dict)
    # For an inbox: the remembered keys, oldest first, and the unread ones.
    seen: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    group: KeptGroup = field(default_factory=no_group)

    @property
    def state(self) -> str | None:
        return self.document.get("state")

    @property
    def cursor(self) -> Cursor:
        return Cursor(self.epoch, self.seq, self.facts, self.chain)

    def take_texts(self, texts: Texts) -> None:
        """Take the lengths that follow from an event; a later run's void what was written."""
        if texts.run != self.texts.run:
            self.written.clear()
        self.texts = texts

    def end_run(self) -> None:
        self.live, self.lease_ends = False, None


class MemoryJournal(MemoryGroups):
    """A `Journal` in memory. `clock` returns seconds since 1970, as the journal server's time."""

    def __init__(self, settings: Settings, *, ring: Ring | None = None, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._ring = ring or (lambda _feed, _text: None)
        self._clock = clock
        self._feeds: dict[str, _Feed] = {}
        self._pending: list[str] = []
        # By name: the text and the instant of its expiry.
        self._notes: dict[str, tuple[str, float]] = {}
        self._opened = 0
        self._lock = threading.RLock()

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
        with self._lock:
            kept = self._feeds.get(feed)
            again = kept is not None and rules.begins_again(kept, publication, replayed=replayed)
            before = kept if again else None
            if kept is None or before is not None:
                draft.encode()
                self._opened += 1
                kept = self._feeds[feed] = _Feed(
                    owner, epoch or mint_epoch(), self._opened, message=message, publication=publication
                )
                if before is not None:
                    # Run numbers go on, so that a leftover of an earlier run is fenced.
                    kept.run = before.run
                    kept.spent = rules.succeed(before.publication, before.spent, publication)
                    self.settle(feed)
                self._write(feed, kept, draft, run=0)
                kept.lease_ends = None if lease is None else self._clock() + lease
            return kept.cursor

    def confirm(self, feed: str, *, run: int = 0, wait: bool = True, lease: float | None = None) -> None:
        with self._lock:
            kept = self._feeds.get(feed)
            if kept is None:
                return
            if lease is None:
                kept.lease_ends = None if kept.run == run else kept.lease_ends
            elif rules.waits_for_worker(kept, run):
                kept.waits, kept.lease_ends = True, self._clock() + lease

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
        with self._lock:
            draft.encode()
            kept = self._feeds.get(feed)
            if kept is None:
                return Missing()
            chunk = draft.chunk
            answer = rules.append(
                kept,
                is_fact=draft.is_fact,
                state=draft.state,
                run=run,
                fact=fact,
                counter=counter,
                delivery=delivery,
                texts=texts,
                span=chunk.span if chunk else None,
            )
            if not isinstance(answer, rules.Accepted):
                return answer
            kept.fact, kept.counter = answer.fact, answer.counter
            kept.take_texts(answer.texts)
            if chunk is not None:
                kept.written.setdefault(chunk.name, bytearray()).extend(chunk.text.encode())
            if answer.ends_run:
                kept.end_run()
            if draft.successor:
                kept.spent = rules.succeed(kept.publication, kept.spent, draft.successor)
                kept.publication = draft.successor
            if rules.prolongs(kept, run, left=self._left(kept), lease=self._settings.lease):
                kept.lease_ends = self._clock() + self._settings.lease
            return replace(self._write(feed, kept, draft, run=run), stalled=answer.was_stalled)

    def read(self, feed: str, cursor: Cursor | None, *, limit: int, texts: bool = True) -> Reading | None:
        with self._lock:
            kept = self._feeds.get(feed)
            if kept is None or kept.removed:
                return read_unknown(feed, cursor)
            first = kept.facts - len(kept.kept) + 1
            start = Cursor(kept.epoch, 0, first - 1, kept.before) if cursor is None and first > 1 else None
            held = cursor or start or Cursor(kept.epoch, 0, 0, ZERO_CHAIN)
            after = [event for event, _ in kept.kept if event.facts > held.facts][:limit]
            fits = not after or after[0].chain == advance_chain(held.chain, after[0].id)
            recovered = rules.is_recovered(kept.cursor, held, first=first, fits=fits)
            events = tuple(after) if recovered else ()
            more = bool(events) and events[-1].facts < kept.facts
            has = (held.texts if recovered else NO_TEXTS) if texts else kept.texts
            found = [
                (span, bytes(kept.written[span.name][span.at : span.end])) for span in spans_after(kept.texts, has)
            ]
            chunks, brought = chunks_of(kept.texts, has, found)
            place = events[-1].cursor if more else kept.cursor
            return Reading(
                feed,
                _copy(kept.document),
                events,
                place.at_texts(brought),
                recovered and start is None,
                more or brought != kept.texts,
                start,
                chunks,
            )

    def text(self, feed: str, name: str) -> str | None:
        with self._lock:
            kept = self._feeds.get(feed)
            written = None if kept is None or kept.removed else kept.written.get(name)
            return None if written is None else written.decode()

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
        with self._lock:
            draft.encode()
            kept = self._feeds.get(feed)
            if kept is None:
                return Missing()
            answer = rules.claim(
                kept,
                delivery=delivery,
                retries=retries,
                left=self._left(kept),
                publication=publication,
                replayed=replayed,
                may_fail=failed is not None,
            )
            match answer:
                case rules.Begun():
                    kept.run, kept.fact, kept.silent, kept.publication, kept.spent, texts = answer
                    kept.take_texts(texts)
                    kept.counter, kept.live = 0, True
                    kept.worker, kept.delivery, kept.retries = worker, delivery, retries
                    kept.message = message or kept.message
                    kept.lease_ends = self._clock() + lease
                    if kept.fact:
                        self._write(feed, kept, draft, run=kept.run)
                case rules.Again():
                    pass
                case rules.GivenUp(silent):
                    assert failed is not None
                    kept.silent = silent
                    kept.end_run()
                    self._write(feed, kept, failed, run=0)
                    return Closed(kept.state or "")
                case _:
                    return answer
            return Claimed(kept.run, kept.fact, kept.cursor, _copy(kept.document), kept.cancel > 0)

    def renew(self, worker: str, feeds: Sequence[str], *, lease: float) -> dict[str, Held]:
        with self._lock:
            answers = {}
            for feed in feeds:
                kept = self._feeds.get(feed)
                held = kept is not None and kept.live and kept.worker == worker
                if kept is not None and held:
                    kept.lease_ends = self._clock() + lease
                answers[feed] = rules.held(kept, valid=held)
            return answers

    def check(self, feed: str, run: int, *, delivery: str = "", lease: float | None = None) -> Held:
        with self._lock:
            kept = self._feeds.get(feed)
            valid = kept is not None and rules.is_valid(kept, run, delivery=delivery)
            if kept is not None and valid and lease is not None:
                kept.lease_ends = self._clock() + lease
            return rules.held(kept, valid=valid)

    def message(self, feed: str) -> str:
        with self._lock:
            kept = self._feeds.get(feed)
            return "" if kept is None else kept.message

    def expired(self, *, limit: int) -> list[Expired]:
        with self._lock:
            now = self._clock()
            for kept in self._feeds.values():
                if kept.lease_ends is not None and kept.lease_ends > now + self._settings.longest_lease:
                    kept.lease_ends = now + self._settings.lease
            ended = [
                Expired(feed, kept.run, kept.waits)
                for feed, kept in self._feeds.items()
                if kept.lease_ends is not None and kept.lease_ends <= now
            ]
            return ended[:limit]

    def conclude(self, feed: str, run: int, draft: Draft, *, lease: float | None = None) -> Appended:
        with self._lock:
            kept = self._feeds.get(feed)
            if kept is None:
                return Missing()
            refusal = rules.conclude(kept, run, state=draft.state, left=self._left(kept))
            if refusal is not None:
                return refusal
            if rules.ends_run(draft.state):
                kept.end_run()
            kept.lease_ends = None if lease is None else self._clock() + lease
            return self._write(feed, kept, draft, run=0)

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
        with self._lock:
            kept = self._feeds.get(feed)
            answer = rules.rebase(kept, run, delivery=delivery, state=document.get("state"))
            if not isinstance(answer, rules.Rebased):
                return answer
            self._opened += 1
            if not answer.live:
                self._pend(feed)
            self._feeds[feed] = _Feed(
                owner=owner,
                epoch=mint_epoch(),
                opened=self._opened,
                seq=last.seq,
                facts=last.facts,
                chain=last.chain,
                before=last.chain,
                document=_copy(document),
                run=run,
                delivery=delivery,
                publication=publication,
                spent="" if kept is None else kept.spent,
                retries=retries,
                fact=fact,
                silent=0 if kept is None else kept.silent,
                waits=kept is not None and kept.waits,
                live=answer.live,
                cancel=answer.cancel,
                worker=worker,
                message=message or ("" if kept is None else kept.message),
                lease_ends=self._clock() + lease if answer.live else None,
            )
            return self._feeds[feed].cursor

    def cancel(self, feed: str, *, cancelling: Draft, cancelled: Draft, force: bool = False) -> Appended:
        with self._lock:
            kept = self._feeds.get(feed)
            if kept is None:
                return Missing()
            if is_group(feed):
                return self._cancel_group(feed, kept, cancelling=cancelling, cancelled=cancelled, force=force)
            answer = rules.cancel(kept, force=force, has_lease=kept.lease_ends is not None)
            if not isinstance(answer, rules.Cancelled):
                return answer
            kept.cancel = answer.cancel
            if answer.at_once:
                kept.end_run()
            return self._write(feed, kept, cancelled if answer.at_once else cancelling, run=0)

    def heads(self, feeds: Sequence[str]) -> dict[str, Head]:
        with self._lock:
            return {
                feed: Head(kept.cursor, kept.state, kept.owner, kept.run, self._left(kept), kept.waits)
                for feed in feeds
                if (kept := self._feeds.get(feed)) is not None
            }

    def changed_heads(self, known: Mapping[str, Cursor | None]) -> dict[str, Cursor | Gone]:
        with self._lock:
            found = {}
            for feed in known:
                kept = self._feeds.get(feed)
                found[feed] = (
                    rules.head_of(feed, None)
                    if kept is None
                    else rules.head_of(feed, kept.cursor, removed=kept.removed)
                )
            return {feed: head for feed, head in found.items() if head != known[feed]}

    def snapshot(self, feed: str) -> Snapshot | None:
        with self._lock:
            kept = self._feeds.get(feed)
            return (
                None
                if kept is None or kept.removed
                else Snapshot(feed, kept.owner, kept.cursor.at_texts(kept.texts), _copy(kept.document))
            )

    def list(self, owner: str, *, limit: int, before: int | None = None) -> tuple[list[Snapshot], int | None]:
        with self._lock:
            rows = sorted(
                (
                    (kept.opened, feed)
                    for feed, kept in self._feeds.items()
                    if kept.owner == owner and not feed.startswith("user:")
                ),
                reverse=True,
            )
            page = [row for row in rows if before is None or row[0] < before][:limit]
            found = [snapshot for _, feed in page if (snapshot := self.snapshot(feed)) is not None]
            return found, page[-1][0] if len(page) == limit else None

    def forget(self, feed: str) -> None:
        with self._lock:
            self._feeds.pop(feed, None)
            self.settle(feed)

    def remove(self, feed: str) -> None:
        with self._lock:
            kept = self._feeds.get(feed)
            if kept is not None:
                kept.document = {"state": rules.state_once_removed(kept.state)}
                kept.kept.clear()
                kept.take_texts(NO_TEXTS)
                kept.owner, kept.message, kept.removed = "", "", True
                kept.group = no_group()
                kept.cancel = rules.CANCEL_ASKED
                kept.end_run()
                self.settle(feed)

    def pending(self, *, limit: int) -> Sequence[str]:
        with self._lock:
            return self._pending[:limit]

    def settle(self, feed: str) -> None:
        with self._lock:
            if feed in self._pending:
                self._pending.remove(feed)

    def notify(self, owner: str, *, key: str, notice: Document) -> Stored | Duplicate:
        with self._lock:
            check_feed(key)
            encode_notice(notice)
            feed, inbox = self._inbox(owner)
            if key in inbox.seen:
                return Duplicate(inbox.cursor)
            for keys in (inbox.seen, inbox.unread):
                keys.append(key)
                del keys[:-INBOX_KEPT]
            patch = rules.notify(inbox.document, key, notice, unread=len(inbox.unread))
            return self._write(feed, inbox, Draft("notice", patch, data=notice), run=0)

    def acknowledge(self, owner: str, keys: Sequence[str] | None, *, again: bool = False) -> Stored | Duplicate:
        with self._lock:
            chosen = [check_feed(key) for key in keys or ()]
            feed, inbox = self._inbox(owner)
            taken = [key for key in inbox.unread if keys is None or key in chosen]
            inbox.unread = [key for key in inbox.unread if key not in taken]
            if again:
                inbox.seen = [key for key in inbox.seen if key not in chosen]
            else:
                fresh = (key for key in dict.fromkeys(chosen) if key not in inbox.seen)
                inbox.seen = [*inbox.seen, *fresh][-INBOX_KEPT:]
            if not taken:
                return Duplicate(inbox.cursor)
            patch = rules.acknowledge(inbox.document, taken, unread=len(inbox.unread))
            return self._write(feed, inbox, Draft("acknowledged", patch), run=0)

    def _inbox(self, owner: str) -> tuple[str, _Feed]:
        feed = inbox_feed(owner)
        if feed not in self._feeds:
            self._opened += 1
            self._feeds[feed] = _Feed(owner, INBOX_START.epoch, self._opened)
        return feed, self._feeds[feed]

    def _pend(self, feed: str) -> None:
        if not feed.startswith("user:") and feed not in self._pending:
            self._pending.append(feed)

    def note(self, name: str, text: str, *, instead_of: str, lasts: float) -> str:
        with self._lock:
            before = self.notes([name]).get(name, "")
            if before == instead_of:
                self._notes.pop(name, None)
                if text:
                    self._notes[name] = (text, self._clock() + lasts)
            return before

    def notes(self, names: Sequence[str]) -> dict[str, str]:
        with self._lock:
            now = self._clock()
            found = {name: self._notes[name] for name in names if name in self._notes}
            return {name: text for name, (text, ends) in found.items() if ends > now}

    def ping(self) -> None:
        """Memory always answers."""

    def inspect(self) -> Sequence[str]:
        return ("The journal is in memory and ends with this process. Set PETIOLE_JOURNAL_URL to a redis:// URL.",)

    def close(self) -> None:
        """There is nothing to release."""

    def _left(self, kept: _Feed) -> float | None:
        return None if kept.lease_ends is None else kept.lease_ends - self._clock()

    def _write(self, feed: str, kept: _Feed, draft: Draft, *, run: int) -> Stored:
        kept.seq += 1
        if draft.is_fact:
            kept.facts += 1
            kept.chain = advance_chain(kept.chain, draft.id)
        event = Event(
            id=draft.id,
            feed=feed,
            epoch=kept.epoch,
            seq=kept.seq,
            run=run,
            facts=kept.facts,
            chain=kept.chain,
            at=int(self._clock() * 1000),
            kind=draft.kind,
            patch=draft.patch,
            progress=draft.progress if draft.progress is not None else {**kept.document, **draft.patch}.get("progress"),
            data=json.loads(data) if (data := draft.encode().data) else None,
            texts=kept.texts,
            v=TEXT_VERSION if draft.chunk else VERSION,
        )
        text = to_json(event.to_wire())
        event = Event.from_text(text)
        kept.document = fold(kept.document, event)
        if draft.is_fact:
            kept.kept.append((event, len(text.encode())))
            while len(kept.kept) > 1 and (
                len(kept.kept) > self._settings.facts_kept
                or sum(size for _, size in kept.kept) > self._settings.bytes_kept
            ):
                kept.before = kept.kept.pop(0)[0].chain
        if states.is_terminal(draft.state):
            self._pend(feed)
        self._ring(feed, text)
        return Stored(kept.cursor, kept.cancel > 0)


def _copy(document: Document) -> Document:
    copied: Document = json.loads(to_json(document))
    return copied
