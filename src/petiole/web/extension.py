"""The Flask extension: `Petiole().init_app(app, socketio)` puts the parts of the web side together."""

from __future__ import annotations

from typing import Final

from celery import Celery
from flask import Flask, Response, current_app, has_request_context, request
from flask_socketio import SocketIO

from petiole.bus import open_bus
from petiole.celery_urls import CeleryUrls
from petiole.dispatch.revoked import TaskCancelled
from petiole.dispatch.tracking import Handle, track_app
from petiole.errors import SetupError
from petiole.logs import logger
from petiole.settings import Settings
from petiole.web.access.origins import answer_other_sites, check_origins, named_origins
from petiole.web.access.policy import may, owner_only
from petiole.web.access.rights import Rights
from petiole.web.access.tokens import Tokens
from petiole.web.background.notices import NoticeDelivery
from petiole.web.background.readiness import Readiness
from petiole.web.background.reaper import Reaper
from petiole.web.background.shutdown import Shutdown
from petiole.web.engineio.send_limit import SendLimit
from petiole.web.http.answers import answer_started
from petiole.web.http.assets import petiole_assets
from petiole.web.http.inbox import add_inbox
from petiole.web.http.refusals import answer_cancelled, answer_problem, refused_by_routing
from petiole.web.http.tasks import monitor_blueprint
from petiole.web.problems import Problem
from petiole.web.refusal_log import RefusalLog
from petiole.web.relay.relay import Relay
from petiole.web.service.service import Service
from petiole.web.socket.namespace import NAMESPACE, PetioleNamespace
from petiole.web.state import EXTENSION, State, current_state

log: Final = logger(__name__)


class Petiole(Service):
    """Connects a Flask application, its Socket.IO server and its Celery application.

    One object may serve several applications; what belongs to one is in `app.extensions["petiole"]`.
    """

    def __init__(
        self, app: Flask | None = None, socketio: SocketIO | None = None, *, celery_app: Celery | None = None
    ) -> None:
        super().__init__()
        if app is not None and socketio is not None:
            self.init_app(app, socketio, celery_app=celery_app)

    def init_app(self, app: Flask, socketio: SocketIO, *, celery_app: Celery | None = None) -> None:
        """Register routes and the namespace, and read the settings (`PETIOLE_…` in the environment, then `app.config`).

        The Celery application is the given one, else `app.extensions["celery"]` as in Flask's documentation. Without
        `PETIOLE_JOURNAL_URL` the journal is in its broker, if that is Redis.

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
            raise SetupError(
                "Petiole identifies users by Flask's signed session. Set app.secret_key to a random value."
            )
        settings = Settings.load(
            app.config,
            {key: value for key, value in found.conf.items() if isinstance(key, str)},
            celery=CeleryUrls.of(found.conf),
        )
        if not settings.allow_any_origin:
            check_origins(socketio.server_options.get("cors_allowed_origins"))
        namespace = PetioleNamespace(self, settings)
        state = app.extensions[EXTENSION] = self._make_state(app, socketio, found, settings, namespace)
        state.shutdown.at_start()
        self._register_http(app, state)
        socketio.on_namespace(namespace)

    def accepted(self, handle: Handle) -> Response:
        """Return the 202: where the monitor is, and the cursor from before the dispatch; to a form a 303 to its page."""
        return answer_started(self.wire_of(handle))

    def _make_state(
        self, app: Flask, socketio: SocketIO, celery_app: Celery, settings: Settings, namespace: PetioleNamespace
    ) -> State:
        tracking = track_app(celery_app, settings)
        tracking.warm_up()
        # Several applications may share one Celery application: the one that serves the request says who is asking.
        tracking.asking = _asking
        send_limit = SendLimit(socketio, NAMESPACE, limit=settings.window, watching=namespace.watching)
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
            emit=send_limit.emit,
            spawn=socketio.start_background_task,
            catch_up=send_limit.catch_up,
            gone=rights.end,
            begun_again=rights.ask_again,
        )
        reaper, notices = Reaper(tracking), NoticeDelivery(tracking.journal)
        loops = (reaper.loop, notices.loop, rights.loop, *relay.loops)
        readiness = Readiness(tracking.journal, deaf=lambda: relay.deaf, bus_trouble=lambda: bus.trouble, loops=loops)
        return State(
            settings=settings,
            socketio=socketio,
            tracking=tracking,
            user=self.user,
            relay=relay,
            send_limit=send_limit,
            reaper=reaper,
            notices=notices,
            readiness=readiness,
            rights=rights,
            tokens=tokens,
            shutdown=Shutdown(namespace.depart, spawn=socketio.start_background_task, before=readiness.leave),
            refusals=RefusalLog(log),
            background=self._background,
        )

    def _register_http(self, app: Flask, state: State) -> None:
        @app.before_request
        def begin() -> None:
            current_state().begin()

        @app.after_request
        def answer_in_kind(response: Response) -> Response:
            # A blueprint's own handlers don't see what routing refuses.
            if not request.path.startswith(f"{state.settings.url_prefix}/"):
                return response
            return answer_other_sites(refused_by_routing(response), named_origins(state.socketio))

        # For the whole application: its own views may raise them too, when they start or authorize a task
        # or ask Celery for the result of a cancelled one.
        app.register_error_handler(Problem, answer_problem)
        app.register_error_handler(TaskCancelled, answer_cancelled)
        blueprint = monitor_blueprint(self)
        add_inbox(blueprint, self)
        app.register_blueprint(blueprint, url_prefix=state.settings.url_prefix)
        app.add_template_global(petiole_assets)


def _asking() -> str | None:
    """Return who is asking, by the application that serves the present request."""
    state = current_app.extensions.get(EXTENSION) if has_request_context() else None
    return state.user() if isinstance(state, State) else None
