"""Rights that end: every few seconds each watch is authorized again, with the identity that it began with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, Protocol

from flask import Flask

from petiole.journal.answers import Gone
from petiole.logs import logger
from petiole.loop import Loop
from petiole.web.access.tokens import Principal, Tokens
from petiole.web.problems import Problem, not_found, unavailable, unknown

log = logger(__name__)

# Events wait while so many watches are checked.
AT_ONCE: Final = 50
BETWEEN: Final = 0.005


class Watched(NamedTuple):
    """A watch: on which connection, who is asking, and of whose feed."""

    sid: str
    principal: Principal
    feed: str
    owner: str


class Watches(Protocol):
    """Who watches what, and how a watch is ended."""

    def watches(self, *, by_token: bool = False) -> Iterable[Watched]:
        """Every watch, or of those connections only that have shown a token; some may come and go meanwhile."""
        ...

    def refuse(self, sid: str, feed: str, problem: Problem) -> None:
        """End a watch and say so to its browser."""
        ...


class Rights:
    """Checks all watches of one process. `run` blocks for ever; `sleep` is the server's own.

    `changes`: whether the rule may answer differently than when the watch began; where it can't, only a token's end can end
    the watch, and nobody else is asked about.
    """

    def __init__(
        self,
        app: Flask,
        watches: Watches,
        *,
        may_watch: Callable[[str, str, str], bool],
        changes: Callable[[], bool],
        tokens: Tokens,
        every: float,
        sleep: Callable[[float], Any],
    ) -> None:
        self._app = app
        self._watches = watches
        self._may_watch = may_watch
        self._changes = changes
        self._tokens = tokens
        self._every = every
        self._sleep = sleep
        # While the journal is away nothing new is shown either.
        self.loop = Loop("check of rights", self._turn, away=every, jitter=0.0, wait=sleep)

    def run(self) -> None:
        """Look, and look again."""
        self._sleep(self._every)
        self.loop.run()

    def _turn(self) -> float:
        self.look()
        return self._every

    def look(self) -> None:
        """Ask again for every watch, some at a time, so that events go on meanwhile.

        An authorizer that raises allows nothing, and the browser is told to ask again. So it is when a token has ended: it may
        have a newer one.

        Raises:
            Unavailable: the journal is away, which knows of tokens that were taken back; nothing more was refused.
        """
        watches = iter(self._watches.watches(by_token=not self._changes()))
        while found := list(islice(watches, AT_ONCE)):
            self._look_at(found)
            self._sleep(BETWEEN)

    def end(self, feed: str, why: Gone) -> None:
        """End every watch of a feed that isn't there any more."""
        problem = not_found() if why is Gone.REMOVED else unknown()
        with self._app.app_context():
            for watch in self._watches.watches():
                if watch.feed == feed:
                    self._watches.refuse(watch.sid, feed, problem)

    def ask_again(self, feed: str, owner: str) -> None:
        """The feed's id was used again, by another owner: end the watches of users who may not see it."""
        with self._app.app_context():
            for watch in self._watches.watches():
                if watch.feed == feed and watch.owner != owner:
                    problem = self._problem(feed, watch.principal.user or "", owner)
                    if problem is not None:
                        self._watches.refuse(watch.sid, feed, problem)

    def _look_at(self, found: Sequence[Watched]) -> None:
        ended = self._tokens.ended({watch.principal.token for watch in found if watch.principal.token is not None})
        answers: dict[tuple[str, str], Problem | None] = {}
        with self._app.app_context():
            for sid, principal, feed, owner in found:
                if principal.token in ended:
                    self._watches.refuse(sid, feed, ended[principal.token])
                    continue
                user = principal.user or ""
                if (user, feed) not in answers:
                    answers[user, feed] = self._problem(feed, user, owner)
                problem = answers[user, feed]
                if problem is not None:
                    self._watches.refuse(sid, feed, problem)

    def _problem(self, feed: str, user: str, owner: str) -> Problem | None:
        try:
            allowed = self._may_watch(feed, user, owner)
        except Exception as error:
            log.exception("authorizer_failed", extra={"feed": feed, "error": repr(error)})
            return unavailable(error)
        return None if allowed else not_found()
