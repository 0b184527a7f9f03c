"""Runs in Redis: leases, claims, verdicts, cancelling."""

from __future__ import annotations

from collections.abc import Sequence

from petiole.errors import Refusal
from petiole.journal.answers import (
    Appended,
    Busy,
    Claimed,
    Closed,
    Expired,
    Fenced,
    Held,
    Missing,
)
from petiole.journal.redis import calls
from petiole.journal.redis.feeds import RedisFeeds
from petiole.journal.redis.replies import appended_of, cursor_of, document_of, held_of
from petiole.journal.redis.store import by_partition, ms, ms_or_none
from petiole.protocol.encoding import to_json
from petiole.protocol.events import (
    PARTITIONS,
    Cursor,
    Document,
    Draft,
    mint_epoch,
)
from petiole.redis.errors import translate_errors
from petiole.redis.keys import FEED_KEYS


class RedisRuns(RedisFeeds):
    """`Runs` in Redis."""

    def confirm(self, feed: str, *, run: int = 0, wait: bool = True, lease: float | None = None) -> None:
        meta, *_, leases, _ = self._names.feed(feed)
        step = calls.CONFIRM.step([meta, leases], calls.Confirm(feed, str(run), ms_or_none(lease)))
        if wait:
            self._run(*step)
            return
        with translate_errors(self._settings.journal_url):
            # With its source: nobody waits for the reply, so nobody would send it again if the server didn't know it.
            self._call.tell(self._command("EVAL", *step))

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
        arguments = calls.Claim(worker, delivery, str(retries), ms(lease), message, publication, "01"[replayed])
        events = self._event(feed, draft, run=0)
        if failed is not None:
            events += self._event(feed, failed, run=0)
        reply = self._run(*calls.CLAIM.step(self._names.feed(feed), arguments, events))
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
        for index, group in by_partition(feeds):
            keys = [self._names.leases(index)]
            for feed in group:
                keys += self._names.feed(feed)[: len(FEED_KEYS)]
            step = calls.RENEW.step(keys, calls.Renew(worker, ms(lease), ms(self._settings.live_kept_for)), group)
            try:
                for feed, reply in zip(group, self._run(*step), strict=True):
                    held[feed] = held_of(reply)
            except Refusal as error:
                refused = error  # the other partitions' leases are prolonged all the same
        if refused is not None and not held:
            raise refused
        return held

    def check(self, feed: str, run: int, *, delivery: str = "", lease: float | None = None) -> Held:
        meta, *_, leases, _ = self._names.feed(feed)
        arguments = calls.Check(str(run), delivery, ms_or_none(lease), feed)
        return held_of(self._run(*calls.CHECK.step([meta, leases], arguments)))

    def message(self, feed: str) -> str:
        with translate_errors(self._settings.journal_url):
            message = self._call(("GET", self._names.feed(feed)[FEED_KEYS.index("message")]))[0]
        return (message or b"").decode()

    def expired(self, *, limit: int) -> list[Expired]:
        leases = [self._names.leases(index) for index in range(PARTITIONS)]
        longest, own = ms(self._settings.longest_lease), ms(self._settings.lease)
        feeds = self._members(calls.EXPIRED, leases, calls.ExpiredFeeds(str(limit), longest, own))
        heads = self.heads(feeds)
        found = ((feed, heads.get(feed)) for feed in feeds)
        return [Expired(feed, head.run if head else 0, head is not None and head.waits) for feed, head in found]

    def conclude(self, feed: str, run: int, draft: Draft, *, lease: float | None = None) -> Appended:
        arguments = calls.Conclude(str(run), ms_or_none(lease))
        step = calls.CONCLUDE.step(self._names.feed(feed), arguments, self._event(feed, draft, run=0))
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
        arguments = calls.Rebase(
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
            lease=ms(lease),
            lifetime=ms(self._settings.live_kept_for),
            feed=feed,
            message=message,
            publication=publication,
        )
        fields = [text for name, value in document.items() for text in (name, to_json(value))]
        reply = self._run(*calls.REBASE.step(self._names.feed(feed), arguments, fields))
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
        step = calls.CANCEL.step(self._names.feed(feed), calls.Cancel("01"[force]), events)
        return appended_of(self._run(*step))
