"""Switches mechanisms off, for the negative controls: with one of them gone the checker must find something."""

from __future__ import annotations

import os
from typing import Any

from petiole import feed
from petiole.events import Cursor, Event
from petiole.journal.contract import Stored
from petiole.web.relay import Relay
from petiole.worker.outbox import Outbox


def switch_off(names: str | None = None) -> None:
    """Switch off what `CHAOS_WITHOUT` (or `names`) lists, in this process."""
    for name in (names if names is not None else os.environ.get("CHAOS_WITHOUT", "")).split(","):
        if name:
            SWITCHES[name]()


def _rule() -> None:
    """Readers apply whatever comes, as the plain pattern does."""

    def apply(cursor: Cursor, event: Event) -> feed.Verdict:  # noqa: ARG001
        return feed.Verdict.APPLY

    feed.judge = apply
    _head_check()


def _head_check() -> None:
    """The relay never compares with the journal."""

    def look_away(self: Relay) -> bool:  # noqa: ARG001
        return True

    Relay._check_heads = look_away  # type: ignore[method-assign]


def _resend() -> None:
    """A writer sends each event once and hopes."""

    def hope(self: Any, fact: Any) -> None:
        self._fact += 1
        reply = self._append(fact.draft, fact=self._fact, counter=0)
        if isinstance(reply, Stored):
            self._cursor = reply.cursor

    Outbox._deliver = hope  # type: ignore[method-assign]


def _rebase() -> None:
    Outbox._rebase = Outbox._stop  # type: ignore[method-assign]


def _numbers() -> None:
    """A writer doesn't number its facts, so the journal can't know one again."""
    append = Outbox._append

    def unnumbered(self: Any, draft: Any, *, fact: int, counter: int) -> Any:
        if not draft.is_fact or draft.state is not None:
            return append(self, draft, fact=fact, counter=counter)
        return self._journal.append(self._standing.feed, draft)

    Outbox._append = unnumbered  # type: ignore[method-assign]


SWITCHES = {"rule": _rule, "head_check": _head_check, "resend": _resend, "rebase": _rebase, "numbers": _numbers}
