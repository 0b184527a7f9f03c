"""Who is asking, and what they may do. Closed by default: only who started a task sees it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final, TypeAlias

from flask import session

from petiole.journal.answers import Snapshot

SESSION_KEY: Final = "petiole"

# Returns the id of who is logged in, `None` for nobody. Called in a request context, of HTTP or of a socket's handshake.
Identify: TypeAlias = Callable[[], str | None]
# Called with action ("watch", "cancel", "download"), feed, user and the feed's owner.
Authorize: TypeAlias = Callable[[str, str, str, str], bool]


def owner_only(_action: str, _feed: str, user: str, owner: str) -> bool:
    """Allow everything to the user who started the task, and nothing to anybody else."""
    return secrets.compare_digest(user.encode(), owner.encode())


def current_user(identify: Identify | None, *, create: bool) -> str | None:
    """Return who is asking, as owners are written in the journal.

    A login wins; without one it is the browser, by a random name in Flask's signed session, made if `create`.
    """
    login = identify() if identify is not None else None
    if login:
        # A name that UTF-8 can't encode must not become another user's.
        return f"user:{login}".encode("utf-8", "backslashreplace").decode()
    name = session.get(SESSION_KEY)
    if not isinstance(name, str) and create:
        name = session[SESSION_KEY] = secrets.token_urlsafe(18)
    return f"session:{name}" if isinstance(name, str) else None


def allows(authorize: Authorize, action: str, snapshot: Snapshot | None, user: str | None) -> bool:
    """Say whether `user` may do this to the feed; nobody may do anything to what isn't there."""
    return snapshot is not None and user is not None and may(authorize, action, snapshot.feed, user, snapshot.owner)


def may(authorize: Authorize, action: str, feed: str, user: str, owner: str) -> bool:
    """Ask the application's rule, which is about tasks; an inbox is nobody's but its owner's."""
    if feed.startswith("user:"):
        return action == "watch" and owner_only(action, feed, user, owner)
    return authorize(action, feed, user, owner)
