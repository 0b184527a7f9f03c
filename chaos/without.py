"""Switches mechanisms off, for the negative controls: without one of them the checker must find a violation."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from petiole import Petiole
from petiole.bus.ringer import Ringer
from petiole.dispatch import message
from petiole.errors import Cancelled, InvalidEvent, Unavailable
from petiole.exports.files.manifest import Manifest
from petiole.exports.files.storage import LocalStorage
from petiole.exports.files.temporary import TemporaryFile
from petiole.journal.answers import Busy, Claimed, Closed, Stored
from petiole.journal.redis.journal import RedisJournal
from petiole.journal.redis.scripts import Limits, Script, Scripts
from petiole.loop import Loop
from petiole.protocol import reader as feed
from petiole.protocol.events import Cursor, Document, Draft, Event, EventHeader, advance_chain
from petiole.protocol.texts import Span, Texts
from petiole.redis import errors as redis_errors
from petiole.settings import Settings, is_redis
from petiole.web.access.rights import Rights
from petiole.web.background import reaper
from petiole.web.background.reaper import Conclusion, Reaper
from petiole.web.engineio.guard import Guard
from petiole.web.engineio.send_limit import SendLimit
from petiole.web.http import tasks as monitor
from petiole.web.relay.heads import HeadCheck
from petiole.worker.deaths import DeathWatch
from petiole.worker.lifecycle import Lifecycle
from petiole.worker.outbox import Outbox
from petiole.worker.run import Run
from petiole.worker.writer import RunWriter


def switch_off(names: str | None = None) -> None:
    """Switch off the mechanisms in `CHAOS_WITHOUT` (or `names`), in this process."""
    for name in (names if names is not None else os.environ.get("CHAOS_WITHOUT", "")).split(","):
        if name and name not in OF_BROWSERS:
            SWITCHES[name]()


def _rule() -> None:
    """Readers apply every event, as the plain pattern does."""

    def apply(cursor: Cursor, event: feed.Numbered, **texts: bool) -> feed.Verdict:  # noqa: ARG001
        return feed.Verdict.APPLY

    _put(feed, "judge", apply)
    _head_check()


def _head_check() -> None:
    """The relay never compares with the journal."""

    def look_away(self: HeadCheck) -> bool:  # noqa: ARG001
        return True

    _put(HeadCheck, "compare", look_away)


def _resend() -> None:
    """A writer sends each event once and never again."""

    def hope(self: Any, fact: Any) -> None:
        writer, number = self._writer, self._writer.next_number
        reply = fact.begun() if fact.begun else writer.append(fact.draft, number)
        writer.keep(number, fact.draft)
        if fact.draft.chunk is not None:
            writer.texts.acknowledge(fact.draft.chunk)
        if isinstance(reply, Stored):
            writer.cursor = reply.cursor

    _put(Outbox, "_deliver", hope)


def _rebase() -> None:
    _put(RunWriter, "_rebase", RunWriter._fence)


def _numbers() -> None:
    """A writer doesn't number its facts, so the journal can't recognise a duplicate."""
    append = RunWriter.append

    def unnumbered(self: RunWriter, draft: Any, number: int) -> Any:
        if draft.state is not None or draft.chunk is not None:
            return append(self, draft, number)
        return self._journal.append(self.feed, draft)

    def never(self: Any, fact: Any) -> None:
        pass

    _put(RunWriter, "append", unnumbered)
    _put(Outbox, "_begin", never)


def _window() -> None:
    """The queue for a slow browser has no limit."""

    def always(self: SendLimit, connection: object) -> bool:  # noqa: ARG001
        return True

    _put(SendLimit, "_keeps_up", always)


def _own_threads() -> None:
    """An emit call waits for journal and broker, and for the broker until it is back, which is kombu's default."""
    put = Outbox.put
    turn = threading.Lock()

    def put_and_wait(self: Outbox, draft: Draft, **how: Any) -> None:
        put(self, draft, **how)
        self.flush(60.0)

    def ring_and_wait(self: Any, name: str, text: str | bytes) -> None:
        with turn:
            while True:
                try:
                    self._publish([(name, text)])
                except Unavailable:
                    time.sleep(0.1)
                else:
                    return

    _put(Outbox, "put", put_and_wait)
    _put(Ringer, "ring", ring_and_wait)


def _chain() -> None:
    """Readers go by numbers alone (in the web processes; browsers have such a reader of their own)."""
    judge = feed.judge

    def judge_numbers(cursor: Cursor, event: feed.Numbered, **texts: bool) -> feed.Verdict:
        chain = advance_chain(cursor.chain, event.id) if event.is_fact else cursor.chain
        if isinstance(event, EventHeader):
            return judge(cursor, event._replace(chain=chain), **texts)
        assert isinstance(event, Event)
        return judge(cursor, replace(event, chain=chain), **texts)

    def follow_numbers(cursor: Cursor, events: Any) -> bool:  # noqa: ARG001
        return True

    def by_numbers(self: Cursor, other: Cursor) -> bool:
        return self.epoch != other.epoch or self.seq < other.seq or self.facts < other.facts

    _put(feed, "judge", judge_numbers)
    _put(feed, "follow", follow_numbers)
    _put(Cursor, "is_behind", by_numbers)
    # A journal without a chain to compare answers by the numbers alone.
    if journal_class() is not RedisJournal:
        _read_by_numbers(journal_class())
        return
    _script("read", "if chain ~= values[4] then", "if chain_before(packed[1]) ~= chain then")


def _read_by_numbers(kind: Any) -> None:
    """Let the SQL journal assume that a cursor has the right chain."""
    from sqlalchemy import select

    from petiole.journal.sql.schema import facts, feeds
    from petiole.journal.sql.server import Mode

    read = kind.read

    def by_numbers(self: Any, name: str, cursor: Cursor | None, **how: Any) -> feed.Reading | None:
        if cursor is not None:
            after = select(facts.c.before).join(feeds, feeds.c.id == facts.c.feed)
            after = after.where(feeds.c.name == name, facts.c.number == cursor.facts + 1)
            chain = self._server.run(lambda connection: connection.scalar(after), mode=Mode.QUERY)
            cursor = cursor if chain is None else replace(cursor, chain=chain)
        reading: feed.Reading | None = read(self, name, cursor, **how)
        return reading

    _put(kind, "read", by_numbers)


def _lengths() -> None:
    """Readers never look at the lengths of texts (in the web processes; browsers have such a reader of their own)."""

    def anyway(self: Texts, held: Texts, span: Span | None) -> bool:  # noqa: ARG001
        return True

    _put(Texts, "follows", anyway)


def _trust() -> None:
    """The journal trusts every cursor."""
    read = RedisJournal.read

    def credulous(self: RedisJournal, name: str, cursor: Cursor | None, **how: Any) -> feed.Reading | None:
        reading = read(self, name, cursor, **how)
        if reading is None or reading.recovered or cursor is None:
            return reading
        return replace(reading, recovered=True)

    _put(RedisJournal, "read", credulous)


def _passing() -> None:
    """A server's temporary refusal counts as final for the event."""
    if journal_class() is RedisJournal:
        _put(redis_errors, "Refusal", InvalidEvent)
        return
    from petiole.journal.sql import server

    _put(server, "Refusal", InvalidEvent)


def _on_failure() -> None:
    """Nothing reports a pool child that has died."""

    def silent(self: DeathWatch, **_: Any) -> None:
        pass

    _put(DeathWatch, "_on_failure", silent)


def _reaper() -> None:
    """Nothing reports a worker that has died."""

    def sleep_in(self: Reaper) -> None:
        pass

    _put(Reaper, "run", sleep_in)


def _supervised() -> None:
    """An exception in a turn ends its loop, and an exception from one feed ends the check of all feeds."""

    def unsupervised(self: Loop) -> None:
        while not self.closed.is_set():
            self.closed.wait(self._turn())

    def look(self: Reaper) -> None:
        for expired in self._journal.expired(limit=reaper.AT_ONCE):
            snapshot = self._journal.snapshot(expired.feed)
            if snapshot is not None:
                self._speak_for(expired, snapshot)

    _put(Loop, "run", unsupervised)
    _put(Reaper, "look", look)


def _mark() -> None:
    """The reaper gives its verdict at once, without a mark and a waiting time."""
    decide = reaper.conclude_silent

    def at_once(document: Document, *, settings: Settings, now: int) -> Conclusion:
        return decide({**document, "state": "stalled"}, settings=settings, now=now)

    reaper.conclude_silent = at_once


def _fence() -> None:
    """A run isn't told that a later one has begun."""

    def only_cancel(self: Run) -> None:
        if self.outbox.signals.cancel:
            raise Cancelled("The task was cancelled.")

    _put(Run, "stop_if_ended", only_cancel)
    _confirm()


def _confirm() -> None:
    """A run publishes without asking, and doesn't withdraw what it has published."""

    def unasked(self: Run, timeout: float) -> bool:  # noqa: ARG001
        return True

    def leave(self: LocalStorage, key: str, **_: Any) -> None:
        pass

    _put(Run, "confirm", unasked)
    _put(LocalStorage, "remove", leave)


def _busy() -> None:
    """Every delivery runs, whether or not another execution is alive or the task has ended."""
    claim = RedisJournal.claim

    def regardless(self: RedisJournal, name: str, draft: Draft, **how: Any) -> Any:
        reply = claim(self, name, draft, **how)
        if isinstance(reply, Busy | Closed):
            snapshot = self.snapshot(name)
            if snapshot is not None:
                return Claimed(1, 1, snapshot.cursor, snapshot.document)
        return reply

    _put(RedisJournal, "claim", regardless)


def _silent_ends() -> None:
    """Silent ends of a task's runs aren't counted."""
    claim = RedisJournal.claim

    def uncounted(self: RedisJournal, name: str, draft: Draft, **how: Any) -> Any:
        return claim(self, name, draft, **{**how, "failed": None})

    _put(RedisJournal, "claim", uncounted)


def _set_aside() -> None:
    """A value that can't be an event is queued like all others."""

    def unchecked(
        self: Run, kind: str, *, patch: Any = None, data: Any = None, otherwise: Any = None, successor: str = ""
    ) -> bool:
        draft = Draft(kind, patch or {}, self.progress(), data)
        self.outbox.put(replace(draft, successor=successor), otherwise=otherwise)
        return True

    _put(Run, "say", unchecked)


def _disown() -> None:
    """A forked process goes on using its parent's state."""

    def keep(self: Lifecycle) -> None:
        pass

    _put(Lifecycle, "_on_fork", keep)


def _headers() -> None:
    """A message's header is read only at its original place."""
    _put(message, "DEEPEST", 0)


def _unheard() -> None:
    """Tasks that no worker has begun aren't checked."""

    def ask_nobody(self: Reaper, expired: Any, document: Document) -> None:
        pass

    _put(Reaper, "_ask_after", ask_nobody)


def _server_time() -> None:
    """Leases end by the clock of the machine that writes them."""

    def by_own_clock(verb: Callable[..., Any]) -> Callable[..., Any]:
        def leased(self: RedisJournal, *arguments: Any, lease: float, **how: Any) -> Any:
            client: Any = self._client
            seconds, microseconds = client.time()
            return verb(self, *arguments, lease=lease + time.time() - seconds - microseconds / 1e6, **how)

        return leased

    _put(RedisJournal, "claim", by_own_clock(RedisJournal.claim))
    _put(RedisJournal, "renew", by_own_clock(RedisJournal.renew))


def _unlink() -> None:
    """An unfinished temporary file stays."""
    close = TemporaryFile.__exit__

    def leave(self: TemporaryFile, *_: Any) -> None:
        self._is_there = False
        close(self, None, None, None)

    _put(TemporaryFile, "__exit__", leave)


def _described_last() -> None:
    """A file's description is written before the file has its final name."""
    rename = TemporaryFile.rename
    adopt = LocalStorage.adopt

    def described_first(self: LocalStorage, file: TemporaryFile, manifest: Manifest) -> None:
        with self.create(manifest.key) as early:
            early.write(manifest.to_text().encode())
            early._file.finish()
            rename(early._file, self._manifest_path(manifest.key))
        adopt(self, file, manifest)

    _put(LocalStorage, "adopt", described_first)


def _stays_whole() -> None:
    """An expired file is truncated instead of unlinked."""

    def empty(self: LocalStorage, key: str, **_: Any) -> None:
        manifest = self._manifest(key)
        if manifest is not None:
            os.truncate(self._directory / manifest.data_name, 0)

    _put(LocalStorage, "remove", empty)


def _rights() -> None:
    """Rights are checked only at the start."""

    def look_away(self: Rights) -> None:
        pass

    def always(self: Petiole, action: str, feed: str) -> Callable[[str], bool]:  # noqa: ARG001
        return lambda _owner: True

    _put(Rights, "look", look_away)
    _put(Petiole, "still_may", always)


def _guard() -> None:
    """Silent and malformed connections aren't closed."""

    def let_be(self: Guard, eio_sid: str, reason: str | None) -> None:
        pass

    _put(Guard, "close", let_be)


def _once() -> None:
    """An inbox doesn't remember its tasks, and an acknowledgement before the notice leaves no tombstone."""
    _script("notify", "if redis.call('ZSCORE', seen, key) then")


def _origin() -> None:
    """Pages of other sites are accepted."""
    os.environ["PETIOLE_ALLOW_ANY_ORIGIN"] = "true"
    _put(monitor, "refuse_foreign_origin", lambda: None)


def journal_class() -> Any:
    """Return the class of this process's journal."""
    if is_redis(os.environ["PETIOLE_JOURNAL_URL"]):
        return RedisJournal
    # Imported only where it is used: its own imports take a while.
    from petiole.journal.sql import SqlJournal

    return SqlJournal


def _put(owner: Any, name: str, value: Any) -> None:
    """Replace an attribute."""
    getattr(owner, name)
    setattr(owner, name, value)


def _script(name: str, *conditions: str, instead: Mapping[str, str] | None = None) -> None:
    """Have a script of the Redis journal skip these conditions, and say something else `instead` of some of its words."""
    load = Scripts._load
    replaced = dict.fromkeys(conditions, "if false then") | dict(instead or {})

    def without(source: str) -> str:
        for words, others in replaced.items():
            if words not in source:
                raise LookupError(f"{name}.lua says {words!r} no more: this switch is for another version of it.")
            source = source.replace(words, others)
        return source

    def loaded(self: Scripts, wanted: str) -> Script:
        found = load(self, wanted)
        return Script.of(without(found.source)) if wanted == name else found

    without(Scripts(Limits(1, 1, 1, 1, 1), cluster=False).get(name).source)  # at once, not at its first use
    _put(Scripts, "_load", loaded)


def open_to_all() -> bool:
    """Whether Socket.IO accepts connections from pages of any site."""
    return "origin" in os.environ.get("CHAOS_WITHOUT", "").split(",")


def _once_a_child() -> None:
    """A group adds what its children say to its counts, however often they say it."""
    _script(
        "contribute",
        "if not child or child.state >= CHILD.succeeded\n"
        "    or (cancelled and (child.state == CHILD.queued or child.state == CHILD.retrying)) then",
        "if verdict == '1' and not is_expired(number, child) or verdict ~= '1' and not is_newer(child, state, attempt) then",
        instead={
            "move(group, child.state, state)": "move(group, state == CHILD.running and CHILD.queued or CHILD.running, state)"
        },
    )


# Mechanisms of browsers only: `chaos.browsers` has a reader without each.
OF_BROWSERS = frozenset({"read_again", "said"})
SWITCHES = {
    "busy": _busy,
    "chain": _chain,
    "confirm": _confirm,
    "described_last": _described_last,
    "fence": _fence,
    "guard": _guard,
    "head_check": _head_check,
    "lengths": _lengths,
    "mark": _mark,
    "numbers": _numbers,
    "on_failure": _on_failure,
    "once": _once,
    "once_a_child": _once_a_child,
    "origin": _origin,
    "own_threads": _own_threads,
    "passing": _passing,
    "reaper": _reaper,
    "rebase": _rebase,
    "resend": _resend,
    "rights": _rights,
    "rule": _rule,
    "server_time": _server_time,
    "set_aside": _set_aside,
    "disown": _disown,
    "headers": _headers,
    "unheard": _unheard,
    "silent_ends": _silent_ends,
    "stays_whole": _stays_whole,
    "supervised": _supervised,
    "trust": _trust,
    "unlink": _unlink,
    "window": _window,
}
