"""Rights that end: every few seconds each watch is authorized again, with the identity that it began with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from flask import Flask

from petiole.errors import Unavailable
from petiole.events import partition
from petiole.journal import Journal
from petiole.web.problems import Problem, not_found, unavailable
from petiole.web.tokens import Asker, Tokens

log = logging.getLogger(__name__)

AT_ONCE: Final = 200
BETWEEN: Final = 0.02


class Watches(Protocol):
    """Who watches what, and how a watch is ended."""

    def watches(self) -> Iterable[tuple[str, Asker, str]]:
        """Every watch as connection, who is asking, and feed."""
        ...

    def refuse(self, sid: str, feed: str, problem: Problem) -> None:
        """End a watch and say so to its browser."""
        ...


class Rights:
    """Checks all watches of one process. `run` blocks for ever; `sleep` is the server's own."""

    def __init__(
        self,
        app: Flask,
        journal: Journal,
        watches: Watches,
        *,
        may_watch: Callable[[str, str, str], bool],
        tokens: Tokens,
        every: float,
        sleep: Callable[[float], Any],
    ) -> None:
        self._app = app
        self._journal = journal
        self._watches = watches
        self._may_watch = may_watch
        self._tokens = tokens
        self._every = every
        self._sleep = sleep

    def run(self) -> None:
        """Look, and look again."""
        while True:
            self._sleep(self._every)
            try:
                self.look()
            except Unavailable as error:
                # Nothing new is shown meanwhile either.
                log.info("rights_wait", extra={"error": str(error)})
            except Exception:
                log.exception("rights_unchecked")

    def look(self) -> None:
        """Ask again for every watch, some at a time, so that events go on meanwhile.

        A feed that the journal doesn't know is left alone: it has lost it, and its writer may open it anew. An authorizer that
        raises allows nothing, and the browser is told to ask again. So it is when a token has ended: it may have a newer one.

        Raises:
            Unavailable: the journal is away; nothing more was refused.
        """
        found = sorted(self._watches.watches(), key=lambda watch: (partition(watch[2]), watch[2]))
        for at in range(0, len(found), AT_ONCE):
            if at:
                self._sleep(BETWEEN)
            self._look_at(found[at : at + AT_ONCE])

    def _look_at(self, found: Sequence[tuple[str, Asker, str]]) -> None:
        heads = self._journal.heads(sorted({feed for _, _, feed in found}))
        ended = self._tokens.ended({asker.token for _, asker, _ in found if asker.token is not None})
        answers: dict[tuple[str, str], Problem | None] = {}
        with self._app.app_context():
            for sid, asker, feed in found:
                if asker.token in ended:
                    self._watches.refuse(sid, feed, ended[asker.token])
                    continue
                if feed not in heads:
                    continue
                user = asker.user or ""
                if (user, feed) not in answers:
                    answers[user, feed] = self._problem(feed, user, heads[feed].owner)
                problem = answers[user, feed]
                if problem is not None:
                    self._watches.refuse(sid, feed, problem)

    def _problem(self, feed: str, user: str, owner: str) -> Problem | None:
        if not owner:
            return not_found()  # it was removed
        try:
            allowed = self._may_watch(feed, user, owner)
        except Exception:
            log.exception("authorizer_failed", extra={"feed": feed})
            return unavailable(Unavailable("The authorizer failed."))
        return None if allowed else not_found()
