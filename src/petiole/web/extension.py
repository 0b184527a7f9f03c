"""The Flask extension: `Petiole().init_app(app, socketio)`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from celery import Celery, Task
from flask import Flask, Response, current_app, has_request_context, jsonify, request
from flask_socketio import SocketIO

from petiole.bus import open_bus
from petiole.celery_urls import CeleryUrls
from petiole.dispatch.revoked import TaskCancelled
from petiole.dispatch.tracking import Handle, Tracking, track_app
from petiole.errors import PetioleError, SetupError, Unavailable
from petiole.journal import Journal
from petiole.journal.answers import Gone, Snapshot
from petiole.logs import logger
from petiole.protocol import states
from petiole.protocol.events import feed_id
from petiole.settings import Settings
from petiole.web import actions
from petiole.web.access.origins import answer_other_sites, named_origins
from petiole.web.access.policy import Authorize, Identify, allows, current_user, may, owner_only
from petiole.web.access.rights import Rights
from petiole.web.access.tokens import Principal, Token, Tokens, allow_scope, bearer, covered
from petiole.web.background.notices import NoticeDelivery
from petiole.web.background.readiness import Readiness
from petiole.web.background.reaper import Reaper
from petiole.web.background.shutdown import Shutdown
from petiole.web.engineio.guard import check_origins
from petiole.web.engineio.send_limit import SendLimit
from petiole.web.http.idempotency import Idempotency, IdempotentRequest, asked_by_request, key_of
from petiole.web.http.inbox import add_inbox, unmade_inbox
from petiole.web.http.listing import PAGE_SIZE, Page, list_tasks
from petiole.web.http.page import problem_page, see, wants_page
from petiole.web.http.tasks import RETRY_AFTER, links, monitor_blueprint
from petiole.web.problems import Problem, not_found, refused_by_routing, unavailable
from petiole.web.relay.relay import Relay
from petiole.web.socket.namespace import NAMESPACE, PetioleNamespace

log = logger(__name__)

EXTENSION: Final = "petiole"

Links = Callable[[Snapshot], Mapping[str, str]]
Deletion = Callable[[Snapshot], object]


@dataclass(slots=True)
class State:
    """What one Flask application has of Petiole."""

    petiole: Petiole
    settings: Settings
    socketio: SocketIO
    tracking: Tracking
    relay: Relay
    window: SendLimit
    reaper: Reaper
    courier: NoticeDelivery
    readiness: Readiness
    rights: Rights
    tokens: Tokens
    departure: Shutdown
    working: bool = False


class Petiole:
    """Connects a Flask application, its Socket.IO server and its Celery application.

    One object may serve several applications; what belongs to one is in `app.extensions["petiole"]`.
    """

    def __init__(
        self, app: Flask | None = None, socketio: SocketIO | None = None, *, celery_app: Celery | None = None
    ) -> None:
        self._identify: Identify | None = None
        self._authorize: Authorize = owner_only
        self._links: list[Links] = []
        self._deletions: list[Deletion] = []
        if app is not None and socketio is not None:
            self.init_app(app, socketio, celery_app=celery_app)

    def init_app(self, app: Flask, socketio: SocketIO, *, celery_app: Celery | None = None) -> None:
        """Register routes and the namespace, and read the settings (`PETIOLE_…` in the environment, then `app.config`).

        The Celery application is the given one, else `app.extensions["celery"]` as in Flask's documentation. Without
        `PETIOLE_JOURNAL_URL` the journal is in its broker, where that is Redis.

        Raises:
            SetupError: called twice, no secret key, no Celery application, or a setting is wrong.
        """
        if EXTENSION in app.extensions:
            raise SetupError("This application has Petiole already. Call init_app once.")
        found = celery_app or app.extensions.get("celery")
        if not isinstance(found, Celery):
            raise SetupError(
                "Petiole found no Celery application. Put it into app.extensions['celery'], or pass celery_app= to init_app."
            )
        if not app.secret_key and self._identify is None:
            raise SetupError("Petiole knows people by Flask's signed session. Set app.secret_key to a random value.")
        settings = Settings.load(
            app.config,
            {key: value for key, value in found.conf.items() if isinstance(key, str)},
            celery=CeleryUrls.of(found.conf),
        )
        if not settings.allow_any_origin:
            check_origins(socketio.server_options.get("cors_allowed_origins"))
        tracking = track_app(found, settings)
        tracking.warm_up()

        # Several applications may have one Celery application between them: who asks is the present one's to say.
        tracking.asking = _asking

        namespace = PetioleNamespace(self, settings)
        window = SendLimit(socketio, NAMESPACE, limit=settings.window, watching=namespace.watching)
        tokens = Tokens(tracking.journal, settings)
        rights = Rights(
            app,
            namespace,
            may_watch=lambda feed, user, owner: may(self._authorize, "watch", feed, user, owner),
            changes=lambda: self._authorize is not owner_only,
            tokens=tokens,
            every=settings.rights_check,
            sleep=socketio.sleep,
        )
        bus = open_bus(settings)
        relay = Relay(
            tracking.journal,
            bus,
            settings,
            emit=window.emit,
            spawn=socketio.start_background_task,
            catch_up=window.catch_up,
            gone=rights.end,
            begun_again=rights.ask_again,
        )
        reaper, courier = Reaper(tracking), NoticeDelivery(tracking.journal)
        loops = (reaper.loop, courier.loop, rights.loop, *relay.loops)
        readiness = Readiness(tracking.journal, deaf=lambda: relay.deaf, bus_trouble=lambda: bus.trouble, loops=loops)
        departure = Shutdown(namespace.depart, spawn=socketio.start_background_task, before=readiness.leave)
        app.extensions[EXTENSION] = State(
            self,
            settings,
            socketio,
            tracking,
            relay,
            window,
            reaper,
            courier,
            readiness,
            rights,
            tokens,
            departure,
        )
        departure.at_start()

        @app.before_request
        def begin() -> None:
            self.begin()

        @app.after_request
        def answer_in_kind(response: Response) -> Response:
            # What routing refuses, a blueprint's own handlers don't see.
            below = request.path.startswith(f"{settings.url_prefix}/")
            if not below:
                return response
            return answer_other_sites(refused_by_routing(response), named_origins(socketio))

        # For the whole application: a view of its own that starts or authorizes a task raises them too.
        app.register_error_handler(Problem, _answer)
        # And one that asks Celery for the result of what was cancelled raises this.
        app.register_error_handler(TaskCancelled, _answer_cancelled)
        blueprint = monitor_blueprint(self)
        add_inbox(blueprint, self)
        app.register_blueprint(blueprint, url_prefix=settings.url_prefix)
        socketio.on_namespace(namespace)

    def identify(self, function: Identify) -> Identify:
        """Use `function` to learn who is logged in; it returns an id, or `None` for nobody. Usable as decorator."""
        self._identify = function
        return function

    def authorizer(self, function: Authorize) -> Authorize:
        """Use `function(action, feed, user, owner)` to decide instead of "only who started it". Usable as decorator."""
        self._authorize = function
        return function

    def add_links(self, function: Links) -> Links:
        """Have every snapshot's `links` contain what `function(snapshot)` returns. Usable as decorator."""
        self._links.append(function)
        return function

    def begin(self) -> None:
        """Start this process's reaper and courier, once: with the first request or connection, so after every fork."""
        state = self._state()
        # An application's own tests have nothing to reap.
        if not state.working and not current_app.testing:
            if state.socketio.server is None:
                raise SetupError("Socket.IO isn't set up for this application. Call socketio.init_app(app).")
            state.working = True
            state.departure.at_request()
            for work in (state.reaper.run, state.courier.run, state.rights.run):
                state.socketio.start_background_task(work)

    @property
    def settings(self) -> Settings:
        return self._state().settings

    @property
    def journal(self) -> Journal:
        return self._state().tracking.journal

    @property
    def socketio(self) -> SocketIO:
        return self._state().socketio

    @property
    def window(self) -> SendLimit:
        return self._state().window

    @property
    def relay(self) -> Relay:
        return self._state().relay

    @property
    def readiness(self) -> Readiness:
        return self._state().readiness

    def depart(self) -> None:
        """Say that this process ends: it isn't ready any more, and its browsers come back spread over some seconds.

        Called by itself at SIGTERM where a process's main thread serves requests or made the application.
        """
        self._state().departure.now()

    def start(
        self,
        task: Task | str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        title: object = None,
        queue: str | None = None,
        countdown: float | None = None,
        idempotency_key: str | None = None,
    ) -> Handle:
        """Start a tracked task for who is asking; by name, the task's code need not be here.

        `title` may be a lazy text, said in the language of this request; past 200 characters it is cut. Without one the
        task's name is said in words.
        A request with the header `Idempotency-Key` (or `idempotency_key`) starts it once in 24 hours: asked again it gets the
        same handle.

        Raises:
            Problem: 503, journal or broker are away; nothing was started. Of a key: 400, it is none; 422, it was used with
                another body; 409, its first request is still under way.
            PetioleError: the arguments can't be sent.
        """
        owner = self.user(create=True) or ""
        name = task if isinstance(task, str) else task.name

        def start(task_id: str) -> Handle:
            return self._state().tracking.start(
                task, args, kwargs, owner=owner, title=title, queue=queue, countdown=countdown, task_id=task_id
            )

        try:
            return self._start(start, owner, asked_by_request((name, args, kwargs), key=idempotency_key))
        except Unavailable as error:
            log.warning("not_started", extra={"task": name, "error": str(error)})
            raise unavailable(error) from error

    def _start(self, start: Callable[[str], Handle], owner: str, asked: IdempotentRequest | None) -> Handle:
        if asked is None:
            return start(str(uuid.uuid4()))
        return Idempotency(self.journal, self.settings).once(asked, owner, start)

    def accepted(self, handle: Handle) -> Response:
        """Return the 202: where the monitor is, and the cursor of before the dispatch; to a form a 303 to its page."""
        snapshot = Snapshot(handle.feed, "", handle.cursor, handle.document)
        wire = self.to_wire(snapshot)
        if wants_page():
            return see(wire["links"]["self"])
        response = jsonify(wire)
        response.status_code = HTTPStatus.ACCEPTED
        response.headers["Location"] = wire["links"]["self"]
        response.headers["Retry-After"] = RETRY_AFTER
        response.headers["Cache-Control"] = "no-store"
        response.vary.add("Accept")
        return response

    def user(self, *, create: bool = True) -> str | None:
        """Return who is asking, as owners are written in the journal; `create`: name an unknown browser."""
        return current_user(self._identify, create=create)

    def token(
        self,
        subject: Handle | str | None = None,
        *,
        owner: str | None = None,
        actions: Sequence[str] = ("watch",),
        expires_in: float | None = None,
    ) -> str:
        """Return a token for a handle or a feed, or for all feeds of `owner`, for `expires_in` seconds.

        In a request, a feed's name is authorized first, as who is asking; an owner is the caller's to know.

        Raises:
            Problem: 404, the feed isn't there or isn't theirs; 503, the journal is away.
            PetioleError: there is no such action, or the time is too long.
        """
        feed = subject.feed if isinstance(subject, Handle) else subject
        try:
            if feed is not None:
                asking = owner or (self.user(create=False) if has_request_context() else None)
                snapshot = self.journal.snapshot(feed) or unmade_inbox(feed, asking)
                if snapshot is None or owner not in (None, snapshot.owner):
                    raise not_found()
                if isinstance(subject, str) and owner is None and has_request_context():
                    for action in actions:
                        self.authorize(action, feed, principal=Principal(self.user(create=False)))
                owner = snapshot.owner
            if owner is None:
                raise PetioleError("A token is for somebody's feeds. Pass a handle, a feed's name, or owner=.")
            return self._state().tokens.mint(owner, feed=feed, actions=actions, expires_in=expires_in)
        except Unavailable as error:
            raise unavailable(error) from error

    def revoke_tokens(self, feed: str | None = None, *, owner: str | None = None) -> None:
        """End every token of an owner, or of a feed's owner: of all their feeds, because they are counted together.

        Raises:
            Problem: 404, there is no such feed; 503, the journal is away.
        """
        try:
            snapshot = None if feed is None else self.journal.snapshot(feed)
            found = owner if snapshot is None else snapshot.owner
            if found is None:
                raise not_found()
            self._state().tokens.revoke(found)
        except Unavailable as error:
            raise unavailable(error) from error

    @property
    def tokens(self) -> Tokens:
        return self._state().tokens

    def principal(self, action: str | None = None) -> Principal:
        """Return who is asking in this request: by a token if it came with one, else by login or session.

        Raises:
            Problem: 401, the token is none; 403, it may not be where it is.
        """
        text = bearer(action)
        if text is None:
            return Principal(self.user(create=False))
        token = self.tokens.read(text)
        if action is not None and "token" in request.args and text == request.args["token"]:
            allow_scope(token, action, linked=True)
        return Principal(token.owner, token)

    def owner_asking(self, principal: Principal | None = None) -> str | None:
        """Return whose list or inbox is asked for; with a token it has to be one for all feeds of its owner.

        Raises:
            Problem: 401 or 403, the token isn't good for that; 503, the journal is away.
        """
        asking = principal or self.principal()
        if asking.token is None:
            return asking.user
        self._check_token(asking.token)
        allow_scope(asking.token, "watch")
        if asking.token.feed is not None:
            detail = "This token is for one feed. Ask for one of all feeds of its owner."
            raise Problem(HTTPStatus.FORBIDDEN, "Beyond the token's scope", detail)
        return asking.token.owner

    def _check_token(self, token: Token) -> None:
        try:
            self.tokens.check(token)
        except Unavailable as error:
            raise unavailable(error) from error

    def authorize(
        self, action: str, feed: str, *, user: str | None = None, principal: Principal | None = None
    ) -> Snapshot:
        """Return the feed's snapshot if who is asking (or `user`) may do this to it.

        Raises:
            Problem: 404, it isn't there or isn't theirs; 401 or 403, a token isn't good for it; 503, the journal is away.
        """
        asking = principal or (Principal(user) if user is not None else self.principal(action))
        if asking.token is not None:
            self._check_token(asking.token)
        try:
            snapshot = self.relay.snapshot(feed) or unmade_inbox(feed, asking.user)
        except Unavailable as error:
            raise unavailable(error) from error
        except PetioleError as error:
            # It can't be known whose it is: the reason is for the log.
            log.error("feed_unreadable", extra={"feed": feed, "error": str(error)})
            raise Problem(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "Unreadable",
                "What is known of this task can't be read. The server's log says why.",
            ) from error
        if asking.token is not None:
            snapshot = covered(asking.token, snapshot)
            allow_scope(asking.token, action)
        if snapshot is None or not allows(self._authorize, action, snapshot, asking.user):
            raise not_found()
        return snapshot

    def still_may(self, action: str, feed: str) -> Callable[[str], bool]:
        """Return what says, given the feed's owner, whether who is asking now may still do this; needs no request then."""
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        principal = self.principal(action)
        tokens = self.tokens

        def still(owner: str) -> bool:
            if principal.token is not None and tokens.ended([principal.token]):
                return False
            with app.app_context():
                return principal.user is not None and may(self._authorize, action, feed, principal.user, owner)

        return still

    def cancel(self, snapshot: Snapshot, *, force: bool = False) -> tuple[int, Snapshot]:
        """Ask a task to stop; returns the status (202, or 200 if that was asked before) and the newest snapshot.

        `force`: end the process that runs it, once it has been cancelling for `PETIOLE_CANCEL_GRACE`.

        Raises:
            Problem: 409, the task has finished, or can't be stopped by force (yet); 404, it is gone.
        """
        return actions.cancel(self.journal, snapshot, force=force, grace=self.settings.cancel_grace)

    def retry(self, snapshot: Snapshot, *, idempotency_key: str | None = None) -> Handle:
        """Start a task that has ended without success again, for its owner, under a new id; `retry_of` is the old one.

        Raises:
            Problem: 409, it can't be; 503, journal or broker are away; nothing was started.
        """
        try:
            key = key_of(idempotency_key)
            asked = None if key is None else IdempotentRequest(key, f"retry {snapshot.feed}", "")
            return self._start(actions.repeat(self._state().tracking, snapshot), snapshot.owner, asked)
        except Unavailable as error:
            log.warning("not_started", extra={"feed": snapshot.feed, "error": str(error)})
            raise unavailable(error) from error

    def delete(self, snapshot: Snapshot) -> None:
        """Remove a task: what runs of it is stopped, `on_delete` takes away what it has made, and nobody can see it any more.

        Pages of this process that watch it are told at once, those of others when heads are compared next.

        Raises:
            Problem: 503, the journal is away.
        """
        try:
            if not states.is_terminal(snapshot.document.get("state")):
                with suppress(Problem):  # it was faster
                    self.cancel(snapshot)
            for function in self._deletions:
                function(snapshot)
            actions.remove(self.journal, snapshot)
        except Unavailable as error:
            raise unavailable(error) from error
        self._state().rights.end(snapshot.feed, Gone.REMOVED)

    def tasks(
        self,
        owner: str | None = None,
        *,
        state: str | None = None,
        name: str | None = None,
        limit: int = PAGE_SIZE,
        cursor: str | None = None,
    ) -> Page:
        """Return a page of the tasks of who is asking, or of `owner`, newest first; `cursor` is that of the page before.

        Only those in `state`, only those of the task `name`, as Celery knows it. `limit` is 1 to 100; of a state or a name
        a page may have fewer though older ones follow. In a request an owner is the caller's to know.

        Raises:
            Problem: 422 or 400, there is no such state, limit or cursor; 503, the journal is away; 401 or 403, a token isn't
                good for it.
            PetioleError: there is no request and no `owner`.
        """
        if owner is None and not has_request_context():
            raise PetioleError("Without a request nobody is asking. Pass owner=, as in petiole.tasks('user:ann').")
        whose = owner or self.owner_asking() or self.user(create=True) or ""
        try:
            return list_tasks(self.journal, whose, state=state, name=name, limit=limit, cursor=cursor)
        except Unavailable as error:
            raise unavailable(error) from error

    def on_delete(self, function: Deletion) -> Deletion:
        """Have `function(snapshot)` take away what a task has made, when it is deleted. Usable as decorator."""
        self._deletions.append(function)
        return function

    def to_wire(self, snapshot: Snapshot) -> dict[str, Any]:
        """Return a snapshot as browsers get it, with its links; needs a request or application context with URLs."""
        found = links(snapshot)
        for function in self._links:
            found.update(function(snapshot))
        return {
            "id": feed_id(snapshot.feed),
            "feed": snapshot.feed,
            "cursor": str(snapshot.cursor),
            "document": snapshot.document,
            "links": found,
        }

    @staticmethod
    def _state() -> State:
        state = current_app.extensions.get(EXTENSION)
        if not isinstance(state, State):
            raise SetupError("Petiole isn't set up for this application. Call petiole.init_app(app, socketio).")
        return state


def _asking() -> str | None:
    """Return who is asking, by the application that this request is for."""
    state = current_app.extensions.get(EXTENSION) if has_request_context() else None
    return state.petiole.user(create=True) if isinstance(state, State) else None


def _answer_cancelled(error: TaskCancelled) -> Response:
    # As the status route of Flask's documentation answers, so that its page stops asking.
    return _answer(
        Problem(HTTPStatus.GONE, "Cancelled", str(error), members={"ready": True, "successful": False, "value": None})
    )


def _answer(problem: Problem) -> Response:
    return problem_page(problem) if wants_page() else problem.to_response()
