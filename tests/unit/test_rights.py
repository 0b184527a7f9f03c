from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from flask import Flask

from petiole.settings import Settings
from petiole.web.access.rights import AT_ONCE, Rights, Watched
from petiole.web.access.tokens import Principal, Tokens
from petiole.web.problems import Problem
from tests.support.memory_journal import MemoryJournal

WATCHES = 2 * AT_ONCE + 10


class Watching:
    """So many browsers, each with its own feed."""

    def __init__(self, number: int) -> None:
        self.feeds = {f"sid-{at}": f"task:{at}" for at in range(number)}

    def watches(self, *, by_token: bool = False) -> Iterable[Watched]:
        if by_token:
            return
        for sid, feed in list(self.feeds.items()):
            yield Watched(sid, Principal("ann"), feed, "ann")

    def refuse(self, sid: str, feed: str, problem: Problem) -> None:
        assert problem.status == 404
        assert self.feeds.pop(sid) == feed


def rights_of(watching: Watching, settings: Settings, **more: Any) -> Rights:
    tokens = Tokens(MemoryJournal(settings), settings)
    return Rights(Flask("rights"), watching, tokens=tokens, every=1.0, **more)


@pytest.mark.parametrize("allowed", [False, True])
def test_every_watch_is_asked_for_and_events_go_on_meanwhile(allowed: bool, make_settings) -> None:
    settings = make_settings()
    watching = Watching(WATCHES)
    asked: list[str] = []
    asked_at_once: list[int] = []

    def may_watch(feed: str, _user: str, _owner: str) -> bool:
        asked.append(feed)
        return allowed

    rights = rights_of(
        watching,
        settings,
        may_watch=may_watch,
        changes=lambda: True,
        sleep=lambda _seconds: asked_at_once.append(len(asked) - sum(asked_at_once)),
    )
    rights.look()
    assert asked == [f"task:{at}" for at in range(WATCHES)]
    assert len(watching.feeds) == (WATCHES if allowed else 0)
    assert max(asked_at_once) <= AT_ONCE


def test_where_the_rule_cannot_change_only_tokens_are_looked_at(make_settings) -> None:
    watching = Watching(1)
    asked: list[str] = []

    def may_watch(feed: str, _user: str, _owner: str) -> bool:
        asked.append(feed)
        return True

    changes = [False]
    rights = rights_of(
        watching, make_settings(), may_watch=may_watch, changes=lambda: changes[0], sleep=lambda _seconds: None
    )
    rights.look()
    assert asked == []
    # An application may set its rule later.
    changes[0] = True
    rights.look()
    assert asked == ["task:0"]


def test_an_authorizer_that_fails_is_the_cause_of_the_refusal(make_settings, caplog) -> None:
    class Refused(Watching):
        def refuse(self, sid: str, feed: str, problem: Problem) -> None:
            self.problem = problem

    def may_watch(_feed: str, _user: str, _owner: str) -> bool:
        raise KeyError("no such group")

    watching = Refused(1)
    rights_of(watching, make_settings(), may_watch=may_watch, changes=lambda: True, sleep=lambda _seconds: None).look()
    assert watching.problem.status == 503
    assert repr(watching.problem.__cause__) == "KeyError('no such group')"
    (line,) = [record.getMessage() for record in caplog.records if record.msg == "authorizer_failed"]
    assert line == "authorizer_failed (feed=task:0): KeyError('no such group')"
