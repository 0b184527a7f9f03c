"""Tokens: signed, short-lived rights for pages that have no session here, on this site or on another one.

A token speaks for an owner, and says less than the owner may do: some actions, on one feed or on all that is theirs. The
application's authorizer is asked for it as for the owner. All tokens of an owner carry the owner's generation, which a
revocation changes.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from flask import Flask, current_app, request
from itsdangerous import BadData, URLSafeSerializer

from petiole.errors import PetioleError, SetupError
from petiole.journal import Journal
from petiole.journal.answers import Snapshot
from petiole.settings import Settings
from petiole.web.problems import Problem, not_found

# Tells our tokens apart from the application's own in the same header.
PREFIX: Final = "petiole."
ACTIONS: Final = ("watch", "cancel", "retry", "delete", "download")
LONGEST: Final = 86400.0
MOST_TEXT: Final = 2048

_SALT: Final = "petiole.token"
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Token:
    """What a token says. `feed` is `None` for all feeds of `owner`; `expires_at` in seconds since 1970."""

    owner: str
    feed: str | None
    actions: tuple[str, ...]
    generation: str
    expires_at: float

    def covers(self, snapshot: Snapshot) -> bool:
        """Whether it is about this feed at all; one that is for a group is about the group's tasks, too."""
        return snapshot.owner == self.owner and self.feed in (None, snapshot.feed, snapshot.document.get("group"))


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking: a user, as owners are written in the journal, or the holder of a user's token."""

    user: str | None
    token: Token | None = None


class Tokens:
    """Mints and checks the tokens of one application. `clock` is the web server's, in seconds since 1970."""

    def __init__(self, journal: Journal, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        self._journal = journal
        self._settings = settings
        self._clock = clock

    def mint(self, owner: str, *, feed: str | None, actions: Sequence[str], expires_in: float | None) -> str:
        """Return a token as text.

        Raises:
            PetioleError: there is no such action, or the time is beyond a day.
            Unavailable: the journal didn't answer.
        """
        lasts = self._settings.token_expires_in if expires_in is None else expires_in
        if not actions or not set(actions) <= set(ACTIONS):
            raise PetioleError(
                f"A token can't be for {', '.join(actions) or 'nothing'}. Use some of {', '.join(ACTIONS)}."
            )
        if not 0 < lasts <= LONGEST:
            raise PetioleError(f"A token can't last {lasts:g} s. Use at most {LONGEST:g}, and have it renewed.")
        generation = self._generations([owner]).get(owner, "")
        body = [_VERSION, owner, feed, list(actions), generation, round(self._clock() + lasts, 3)]
        return PREFIX + str(_serializer(current_app).dumps(body))

    def read(self, text: object) -> Token:
        """Return what a token says, whether or not it is still valid.

        Raises:
            Problem: 401, it isn't one of this application's.
        """
        if not isinstance(text, str) or not text.startswith(PREFIX) or len(text) > MOST_TEXT:
            raise _unauthorized("Invalid token", "This is not a token of this application. Ask for a new one.")
        try:
            version, owner, feed, actions, generation, expires_at = _serializer(current_app).loads(text[len(PREFIX) :])
        except (BadData, ValueError, TypeError):
            version = None
        if version != _VERSION:
            raise _unauthorized("Invalid token", "This is not a token of this application. Ask for a new one.")
        return Token(owner, feed, tuple(actions), generation, expires_at)

    def check(self, token: Token) -> None:
        """Refuse a token that isn't valid any more.

        Raises:
            Problem: 401, it is expired or revoked.
            Unavailable: the journal didn't answer.
        """
        problem = self.ended([token]).get(token)
        if problem is not None:
            raise problem

    def ended(self, tokens: Iterable[Token]) -> dict[Token, Problem]:
        """Return the tokens that aren't valid any more, each with the reason; one round trip for all of them.

        Raises:
            Unavailable: the journal didn't answer.
        """
        found = list(tokens)
        now = self._clock() - self._settings.token_leeway
        generations = self._generations({token.owner for token in found if token.expires_at > now})
        problems = {}
        for token in found:
            if token.expires_at <= now:
                problems[token] = _unauthorized("Token expired", "This token has expired. Ask for a new one.")
            elif not secrets.compare_digest(token.generation, generations.get(token.owner, "")):
                problems[token] = _unauthorized("Token revoked", "This token was revoked. Ask for a new one.")
        return problems

    def expires_in(self, token: Token) -> float:
        """In how many seconds it should have been renewed."""
        return max(round(token.expires_at - self._clock(), 3), 0.0)

    def revoke(self, owner: str) -> None:
        """End all tokens of an owner that were minted until now.

        Raises:
            Unavailable: the journal didn't answer; they may be valid or not.
        """
        before = self._generations([owner]).get(owner, "")
        # A revocation in between has ended the same tokens.
        self._journal.note(
            _note(owner), secrets.token_hex(4), instead_of=before, lasts=max(self._settings.live_kept_for, 2 * LONGEST)
        )

    def _generations(self, owners: Iterable[str]) -> dict[str, str]:
        names = {_note(owner): owner for owner in owners}
        return {names[name]: text for name, text in self._journal.notes(list(names)).items()}


def bearer(action: str | None) -> str | None:
    """Return the token that came with this request, `None` if none of ours did.

    It is in the header `Authorization`. Addresses are logged, so only a link to a download may carry one.

    Raises:
        Problem: 403, the token in the address may do more than download.
    """
    scheme, _, text = request.headers.get("Authorization", "").partition(" ")
    text = text.strip()
    if scheme.lower() == "bearer" and text.startswith(PREFIX):
        return text
    linked = request.args.get("token", "") if action == "download" else ""
    return linked if linked.startswith(PREFIX) else None


def allow_scope(token: Token, action: str, *, linked: bool = False) -> None:
    """Refuse an action beyond the token's scope. `linked`: it came in an address, where only a download token may be.

    Raises:
        Problem: 403.
    """
    if action not in token.actions:
        detail = f"This token isn't for that. Ask for one with the action {action}."
        raise Problem(HTTPStatus.FORBIDDEN, "Beyond the token's scope", detail)
    if linked and token.actions != ("download",):
        detail = "URLs are logged, so a token in one may be for downloads only. Send this one as Authorization: Bearer."
        raise Problem(HTTPStatus.FORBIDDEN, "Beyond the token's scope", detail)


def covered(token: Token, snapshot: Snapshot | None) -> Snapshot:
    """Return the snapshot if the token is about it.

    Raises:
        Problem: 404.
    """
    if snapshot is None or not token.covers(snapshot):
        raise not_found()
    return snapshot


def _unauthorized(title: str, detail: str) -> Problem:
    return Problem(HTTPStatus.UNAUTHORIZED, title, detail, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})


def _serializer(app: Flask) -> URLSafeSerializer:
    if not app.secret_key:
        raise SetupError("Petiole signs tokens with Flask's secret key. Set app.secret_key to a random value.")
    # The newest last: it signs, and the older ones are still read.
    keys = [*(app.config.get("SECRET_KEY_FALLBACKS") or ()), app.secret_key]
    return URLSafeSerializer(keys, salt=_SALT, signer_kwargs={"digest_method": hashlib.sha256})


def _note(owner: str) -> str:
    return f"tokens of {owner}"
