"""A person's inbox: what it is while nothing has come into it, and what an acknowledgement may say."""

from __future__ import annotations

from typing import Final

from petiole.errors import InvalidName
from petiole.journal import Journal
from petiole.journal.answers import Snapshot
from petiole.journal.rules import INBOX_START, empty_inbox
from petiole.protocol.events import inbox_feed, task_feed
from petiole.web.problems import invalid

MOST_AT_ONCE: Final = 100


def inbox_of(journal: Journal, owner: str) -> Snapshot:
    """Return a person's inbox; where nothing has come into it, an empty one that can be watched. Reading creates nothing."""
    return journal.snapshot(inbox_feed(owner)) or _empty(owner)


def unmade_inbox(feed: str, user: str | None) -> Snapshot | None:
    """Return the empty inbox of `user` if `feed`, which the journal doesn't have, is its name."""
    return None if user is None or feed != inbox_feed(user) else _empty(user)


def acknowledge(journal: Journal, owner: str | None, message: object) -> None:
    """Acknowledge the notices that a message names: `{"tasks": [id, …]}`, or `{"all": true}`. Without an owner it does nothing.

    A notice that hasn't come yet never will. In an inbox that nothing has come into, that is kept for one's own tasks only: who
    has started nothing leaves no keys behind.

    Raises:
        Problem: 422, the message is neither.
    """
    chosen = message if isinstance(message, dict) else {}
    tasks = chosen.get("tasks")
    everything = chosen.get("all") is True and tasks is None
    named = [] if everything else _named(tasks)
    if named is None:
        raise invalid(f'Send {{"tasks": [id, …]}} with at most {MOST_AT_ONCE} ids of tasks, or {{"all": true}}.')
    if owner is None:
        return
    inbox = inbox_feed(owner)
    heads = journal.heads([inbox, *named])
    if inbox in heads:
        journal.acknowledge(owner, None if everything else named)
        return
    own = [task for task in named if task in heads and heads[task].owner == owner]
    if own:
        journal.acknowledge(owner, own)


def _named(tasks: object) -> list[str] | None:
    """Return the feeds of a list of task ids; `None` for any other JSON."""
    if not isinstance(tasks, list) or len(tasks) > MOST_AT_ONCE or not all(isinstance(task, str) for task in tasks):
        return None
    try:
        return [task_feed(task) for task in tasks]
    except InvalidName:
        return None


def _empty(owner: str) -> Snapshot:
    return Snapshot(inbox_feed(owner), owner, INBOX_START, empty_inbox())
