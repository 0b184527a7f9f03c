"""A start that is asked for twice happens once: the header `Idempotency-Key`, for 24 hours per owner and route.

The key is noted before anything is started, with the id that the task will have. A repeated request finds the first answer, or
can look whether the first start reached the broker. `docs/dependencies.md` says why the id isn't derived from the key.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import IO, Any, Final

from flask import g, has_request_context, request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from petiole.dispatch.message import now_ms
from petiole.dispatch.tracking import Handle
from petiole.errors import Unavailable
from petiole.journal import Journal
from petiole.logs import logger
from petiole.protocol.encoding import to_json
from petiole.protocol.events import Cursor, feed_id, group_feed, task_feed
from petiole.protocol.states import QUEUED
from petiole.settings import Settings
from petiole.web.bodies import malformed_at_worst, read_all
from petiole.web.problems import Problem

log = logger(__name__)

HEADER: Final = "Idempotency-Key"
KEPT_FOR: Final = 86400.0
MOST_KEY: Final = 255
# The limit of a body that is read for its fingerprint, where the application has no limit of its own.
MOST_COMPARED: Final = 16 * 1024**2
BLOCK: Final = 64 * 1024
FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data")


def mint_task_id() -> str:
    """Return a new id of a task, as Celery mints them."""
    return str(uuid.uuid4())


def mint_group_id() -> str:
    """Return a new id of a group."""
    return group_feed(mint_task_id())


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """What was asked for: by its key on its route, and the fingerprint of its query string and body."""

    key: str
    route: str
    fingerprint: str

    def note(self, owner: str) -> str:
        told = "\0".join((owner, self.route, self.key))
        return f"idempotency {hashlib.sha256(told.encode()).hexdigest()}"


def idempotent_request(arguments: object, *, key: str | None) -> IdempotentRequest | None:
    """Return what this request asks for, if it has a key; without a request what `key` and the arguments say.

    A request that starts several tasks has each of them repeated by its place among them.

    Raises:
        Problem: 400, the key can't be one.
    """
    if not has_request_context():
        return None if key is None else IdempotentRequest(key, "", _digest(repr(arguments).encode()))
    found = key_of(key)
    if found is None:
        return None
    g.petiole_starts = g.get("petiole_starts", 0) + 1
    return IdempotentRequest(found, f"{request.method} {request.path} {g.petiole_starts}", _fingerprint())


def key_of(key: object) -> str | None:
    """Return the key that is given, else the request's, if it has one.

    Raises:
        Problem: 400, it can't be one.
    """
    found = key if key is not None else request.headers.get(HEADER)
    if found is None:
        return None
    if not isinstance(found, str) or not 0 < len(found) <= MOST_KEY or not found.isprintable():
        detail = f"Send an {HEADER} of 1 to {MOST_KEY} printable characters, such as a random UUID."
        raise Problem(HTTPStatus.BAD_REQUEST, "Bad request", detail)
    return found


class Idempotency:
    """Lets the first start of a key happen and answers the others with it."""

    def __init__(self, journal: Journal, settings: Settings) -> None:
        self._journal = journal
        self._settings = settings

    def once(
        self,
        asked: IdempotentRequest,
        owner: str,
        start: Callable[[str], Handle],
        *,
        mint: Callable[[], str] = mint_task_id,
        group: str | None = None,
    ) -> Handle:
        """Return what `start(id)` returns, or what it has returned for the same key before; `mint` returns the id.

        `group`: the feed of a group that begins again. Its id stays the same, and the minted one is its next epoch.

        Raises:
            Problem: 422, the key was used with another body; 409, the first start is still under way.
            Unavailable: the journal didn't answer; nothing was started. And whatever `start` raises.
        """
        name = asked.note(owner)
        pending = {"body": asked.fingerprint, "id": mint(), "at": now_ms()}
        before = ""
        while True:
            found = self._journal.note(name, to_json(pending), instead_of=before, lasts=KEPT_FOR)
            if found == before:
                break
            handle = self._first(json.loads(found), asked, group)
            if handle is not None:
                return handle
            before = found
        return self._start(name, pending, start)

    def _start(self, name: str, pending: dict[str, Any], start: Callable[[str], Handle]) -> Handle:
        text = to_json(pending)
        try:
            handle = start(pending["id"])
        except BaseException:
            # Nothing was started: the next request may try.
            self._write(name, "", instead_of=text)
            raise
        noted = {**pending, "id": handle.id, "cursor": str(handle.cursor), "document": handle.document}
        self._write(name, to_json(noted), instead_of=text)
        return handle

    def _write(self, name: str, text: str, *, instead_of: str) -> None:
        try:
            self._journal.note(name, text, instead_of=instead_of, lasts=KEPT_FOR)
        except Unavailable as error:
            # A repeated request looks at the task itself.
            log.warning("idempotency_not_noted", extra={"error": str(error)})

    def _first(self, noted: dict[str, Any], asked: IdempotentRequest, group: str | None) -> Handle | None:
        """Return the first start's answer; `None` if it died before it started anything."""
        if noted["body"] != asked.fingerprint:
            detail = f"This {HEADER} was used with another body or query string. Send the same ones, or a new key."
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "Key used already", detail)
        feed = group or task_feed(noted["id"])
        if "cursor" in noted:
            return Handle(noted["id"], feed, Cursor.parse(noted["cursor"]), noted["document"])
        head = self._journal.heads([feed]).get(feed)
        if group is not None and head is not None and head.cursor.epoch != noted["id"]:
            head = None  # the group has not begun again, or has since begun once more
        if head is not None and (head.state != QUEUED or head.lease_left is None):
            # The first start reached the broker, and its process died before it could note that.
            snapshot = self._journal.snapshot(feed)
            if snapshot is not None:
                return Handle(feed_id(feed), feed, snapshot.cursor, snapshot.document)
        if head is None and now_ms() - noted["at"] > self._settings.dispatch_lease * 1000:
            return None
        raise Problem(
            HTTPStatus.CONFLICT,
            "Under way",
            f"The first request with this {HEADER} is still under way. Ask again in a second.",
            headers={"Retry-After": "1"},
            members={"retry_after": 1},
        )


def _fingerprint() -> str:
    """Return a digest of what makes a request to one route another one: its query string, its body, its files.

    Raises:
        Problem: 413, the body is over the application's limit, or over ours where there is none; 400, it can't be read.
    """
    if request.max_content_length is None:
        # A body that the view has read already is never refused.
        request.max_content_length = MOST_COMPARED
    try:
        with malformed_at_worst():
            body = _form() if request.mimetype in FORMS else read_all()
    except RequestEntityTooLarge:
        detail = (
            f"With an {HEADER} the body is read as a whole, and this one is too large. Send a smaller one, or no key."
        )
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "This is too large", detail) from None
    except BadRequest:
        detail = "The body can't be read, or ended before its length. Send it again, whole."
        raise Problem(HTTPStatus.BAD_REQUEST, "Bad request", detail) from None
    query = request.query_string
    return _digest(b"?%b\0%b" % (query, body) if query else body)


def _form() -> bytes:
    files = [(name, file.filename, _content(file.stream)) for name, file in request.files.items(multi=True)]
    return repr((sorted(request.form.items(multi=True)), sorted(files, key=repr))).encode()


def _content(stream: IO[bytes]) -> str:
    """Return the digest of a file, and leave it where the view has read to; of one that was closed it can't be had."""
    if stream.closed:
        return ""
    at = stream.tell()
    stream.seek(0)
    digest = hashlib.sha256()
    while block := stream.read(BLOCK):
        digest.update(block)
    stream.seek(at)
    return digest.hexdigest()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
