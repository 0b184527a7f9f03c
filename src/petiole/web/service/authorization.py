"""Who is asking, and what they may do: by login, session or token, and by the application's own rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flask import Flask, current_app, has_request_context, request

from petiole.dispatch.tracking import Handle
from petiole.errors import PetioleError
from petiole.journal.answers import Snapshot
from petiole.web.access.policy import Authorize, Identify, allows, current_user, may, owner_only
from petiole.web.access.tokens import Principal, Token, allow_scope, bearer, covered
from petiole.web.problems import Problem, not_found, outages_as_problems
from petiole.web.service.inbox import unmade_inbox
from petiole.web.state import current_state


class Authorization:
    """Answers for the application of the present request."""

    def __init__(self) -> None:
        self._identify: Identify | None = None
        self._authorize: Authorize = owner_only

    def identify(self, function: Identify) -> Identify:
        """Use `function` to learn who is logged in; it returns an id, or `None` for nobody. Usable as decorator."""
        self._identify = function
        return function

    def authorizer(self, function: Authorize) -> Authorize:
        """Use `function(action, feed, user, owner)` to decide instead of "only who started it". Usable as decorator."""
        self._authorize = function
        return function

    def user(self, *, create: bool = True) -> str | None:
        """Return who is asking, as owners are written in the journal; `create`: name an unknown browser."""
        return current_user(self._identify, create=create)

    def principal(self, action: str | None = None) -> Principal:
        """Return who is asking in this request: by a token if it came with one, else by login or session.

        Raises:
            Problem: 401, the token is none; 403, it may not be where it is.
        """
        text = bearer(action)
        if text is None:
            return Principal(self.user(create=False))
        token = current_state().tokens.read(text)
        if action is not None and "token" in request.args and text == request.args["token"]:
            allow_scope(token, action, linked=True)
        return Principal(token.owner, token)

    def owner_asking(self, principal: Principal | None = None) -> str | None:
        """Return whose list or inbox is asked for; a token has to be one for all feeds of its owner.

        Raises:
            Problem: 401 or 403, the token isn't good for that; 503, the journal is away.
        """
        asking = principal or self.principal()
        if asking.token is None:
            return asking.user
        _check(asking.token)
        allow_scope(asking.token, "watch")
        if asking.token.feed is not None:
            detail = "This token is for one feed. Ask for one of all feeds of its owner."
            raise Problem(403, "Beyond the token's scope", detail)
        return asking.token.owner

    def authorize(
        self, action: str, feed: str, *, user: str | None = None, principal: Principal | None = None
    ) -> Snapshot:
        """Return the feed's snapshot if who is asking (or `user`) may do this to it.

        Raises:
            Problem: 404, it isn't there or isn't theirs; 401 or 403, a token isn't good for it; 503, the journal is away.
        """
        asking = principal or (Principal(user) if user is not None else self.principal(action))
        if asking.token is not None:
            _check(asking.token)
        try:
            with outages_as_problems():
                snapshot = current_state().relay.snapshot(feed) or unmade_inbox(feed, asking.user)
        except Problem:
            raise
        except PetioleError as error:
            # Nobody knows whose it is. The reason is for the log.
            raise Problem(
                500, "Unreadable", "What is known of this task can't be read. The server's log says why."
            ) from error
        if asking.token is not None:
            snapshot = covered(asking.token, snapshot)
            allow_scope(asking.token, action)
        if snapshot is None or not allows(self._authorize, action, snapshot, asking.user):
            raise not_found()
        return snapshot

    def still_may(self, action: str, feed: str) -> Callable[[str], bool]:
        """Return a function that says, given the feed's owner, whether who is asking here may still do this.

        It needs no request.
        """
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        principal = self.principal(action)
        tokens = current_state().tokens

        def still(owner: str) -> bool:
            if principal.token is not None and tokens.ended([principal.token]):
                return False
            with app.app_context():
                return principal.user is not None and may(self._authorize, action, feed, principal.user, owner)

        return still

    def token(
        self,
        subject: Handle | str | None = None,
        *,
        owner: str | None = None,
        actions: Sequence[str] = ("watch",),
        expires_in: float | None = None,
    ) -> str:
        """Return a token for a handle or a feed, or for all feeds of `owner`, for `expires_in` seconds.

        In a request, a feed's name is authorized first, as who is asking. An `owner` isn't: the caller answers for it.

        Raises:
            Problem: 404, the feed isn't there or isn't theirs; 503, the journal is away.
            PetioleError: there is no such action, or the time is too long.
        """
        feed = subject.feed if isinstance(subject, Handle) else subject
        state = current_state()
        with outages_as_problems():
            if feed is not None:
                asking = owner or (self.user(create=False) if has_request_context() else None)
                snapshot = state.journal.snapshot(feed) or unmade_inbox(feed, asking)
                if snapshot is None or owner not in (None, snapshot.owner):
                    raise not_found()
                if isinstance(subject, str) and owner is None and has_request_context():
                    for action in actions:
                        self.authorize(action, feed, principal=Principal(self.user(create=False)))
                owner = snapshot.owner
            if owner is None:
                raise PetioleError("A token needs a feed or an owner. Pass a handle, a feed's name, or owner=.")
            return state.tokens.mint(owner, feed=feed, actions=actions, expires_in=expires_in)

    def revoke_tokens(self, feed: str | None = None, *, owner: str | None = None) -> None:
        """End every token of an owner, or of a feed's owner: for all their feeds, because they share one generation.

        Raises:
            Problem: 404, there is no such feed; 503, the journal is away.
        """
        state = current_state()
        with outages_as_problems():
            snapshot = None if feed is None else state.journal.snapshot(feed)
            found = owner if snapshot is None else snapshot.owner
            if found is None:
                raise not_found()
            state.tokens.revoke(found)


def _check(token: Token) -> None:
    with outages_as_problems():
        current_state().tokens.check(token)
