"""The common setups of Flask applications: Petiole works in each of them, over HTTP and over the socket."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest
import redis
import requests
import socketio as socketio_client
from celery import Celery, Task
from celery.contrib.testing.worker import start_worker
from flask import Blueprint, Flask, Response, current_app, g, session
from flask_login import LoginManager, UserMixin, current_user, login_user, logout_user
from flask_session import Session
from flask_socketio import SocketIO, emit
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from petiole import Petiole, init_celery, progress
from petiole.client import Refused
from petiole.protocol.events import Event
from tests.support.nearby import Nearby, served
from tests.support.waiting import wait_until


def plain(redis_url: str, **config: Any) -> Flask:
    """An application, still without Petiole."""
    app = Flask(f"app-{uuid.uuid4().hex[:8]}")
    app.config.update(SECRET_KEY="set-ups", PETIOLE_KEY_PREFIX=app.name, **config)
    app.extensions["celery"] = Celery(app.name, broker=redis_url, set_as_current=False)
    return app


def tasks_of(petiole: Petiole) -> Blueprint:
    """The application's own blueprint, which starts tasks."""
    blueprint = Blueprint("reports", __name__, url_prefix="/reports")

    @blueprint.get("/")
    def page() -> str:
        petiole.user()
        return "a page"

    @blueprint.post("/")
    def start() -> Response:
        return petiole.accepted(petiole.start("a.task", title="A report"))

    return blueprint


def finish(site: Nearby, feed: str) -> None:
    site.say(feed, "hello")
    site.end(feed)


def follow(site: Nearby, browser: requests.Session, *, base: str = "", prefix: str = "/petiole") -> dict[str, Any]:
    """Start a task as a browser, follow it over the socket to its end, and read its monitor; returns the 202."""
    assert browser.get(f"{site.url}{base}/reports/", timeout=5).text == "a page"
    client = site.client(session=browser, path=f"{base}/socket.io")
    events: list[Event] = []
    accepted = browser.post(f"{site.url}{base}/reports/", json={}, timeout=5)
    assert accepted.status_code == 202, accepted.text
    task: dict[str, Any] = accepted.json()
    assert task["links"]["self"] == f"{base}{prefix}/tasks/{task['id']}" == accepted.headers["Location"]
    view = client.watch(task["feed"], cursor=task["cursor"], document=task["document"], on_event=events.append)
    wait_until(lambda: client.connected and not view._reader.reading, what="it is watched")
    finish(site, task["feed"])
    assert view.wait(timeout=5)["state"] == "failed"
    assert view.receipt is not None
    assert view.receipt.complete
    assert [event.kind for event in events] == ["log", "state"]
    assert browser.get(site.url + task["links"]["self"], timeout=5).json()["document"]["state"] == "failed"
    return task


def is_foreign(site: Nearby, task: dict[str, Any], *, base: str = "") -> None:
    stranger = requests.Session()
    stranger.get(f"{site.url}{base}/reports/", timeout=5)
    assert stranger.get(site.url + task["links"]["self"], timeout=5).status_code == 404
    client = site.client(session=stranger, path=f"{base}/socket.io")
    with pytest.raises(Refused):
        client.watch(task["feed"]).wait(timeout=5)


def test_a_factory_makes_several_applications_with_one_petiole(redis_url: str) -> None:
    petiole, socketios = Petiole(), []

    def create_app() -> Flask:
        app, socketio = plain(redis_url), SocketIO(async_mode="threading")
        petiole.init_app(app, socketio)
        socketio.init_app(app)
        app.register_blueprint(tasks_of(petiole))
        socketios.append(socketio)
        return app

    with served(create_app()) as one, served(create_app()) as two:
        task = follow(one, requests.Session())
        is_foreign(one, task)
        browser = requests.Session()
        follow(two, browser)
        assert two.journal.snapshot(task["feed"]) is None


@pytest.mark.parametrize("order", ["Petiole first", "Socket.IO first"])
def test_socketio_may_be_set_up_before_or_after(redis_url: str, order: str) -> None:
    app = plain(redis_url)
    if order == "Petiole first":
        socketio = SocketIO(async_mode="threading")
        petiole = Petiole(app, socketio)
        socketio.init_app(app)
    else:
        petiole = Petiole(app, SocketIO(app, async_mode="threading"))
    app.register_blueprint(tasks_of(petiole))
    with served(app) as site:
        follow(site, requests.Session())


def test_the_routes_may_have_another_prefix(redis_url: str) -> None:
    app = plain(redis_url, PETIOLE_URL_PREFIX="/live/tasks")
    petiole = Petiole(app, SocketIO(app, async_mode="threading"))
    app.register_blueprint(tasks_of(petiole))
    with served(app) as site:
        task = follow(site, requests.Session(), prefix="/live/tasks")
        is_foreign(site, task)
        document = requests.get(f"{site.url}/live/tasks/openapi.json", timeout=5).json()
        assert document["servers"] == [{"url": "/live/tasks"}]
        assert requests.get(f"{site.url}/live/tasks/static/petiole.js", timeout=5).status_code == 200


def test_an_application_may_be_mounted_below_a_path(redis_url: str) -> None:
    app = plain(redis_url, SESSION_COOKIE_PATH="/app", APPLICATION_ROOT="/app")
    petiole = Petiole(app, SocketIO(app, async_mode="threading"))
    app.register_blueprint(tasks_of(petiole))
    with served(app, mount=lambda wsgi: DispatcherMiddleware(Response("elsewhere"), {"/app": wsgi})) as site:
        task = follow(site, requests.Session(), base="/app")
        is_foreign(site, task, base="/app")


def test_an_application_may_be_behind_a_proxy_that_takes_a_prefix_away(redis_url: str) -> None:
    app = plain(redis_url)
    petiole = Petiole(app, SocketIO(app, async_mode="threading"))
    app.register_blueprint(tasks_of(petiole))
    proxied = {"X-Forwarded-Prefix": "/app", "X-Forwarded-Host": "public.example", "X-Forwarded-Proto": "https"}
    with served(app, mount=lambda wsgi: ProxyFix(wsgi, x_prefix=1, x_host=1, x_proto=1)) as site:
        browser = requests.Session()
        browser.headers.update(proxied)
        browser.get(f"{site.url}/reports/", timeout=5)
        # The browser uses the public address; the proxy removes the prefix.
        browser.cookies.set("session", browser.cookies["session"])
        task = browser.post(f"{site.url}/reports/", json={}, timeout=5).json()
        assert task["links"]["self"] == f"/app/petiole/tasks/{task['id']}"
        public = {"Origin": "https://public.example"}
        cancel = f"{site.url}/petiole/tasks/{task['id']}/cancel"
        assert browser.post(cancel, headers={"Origin": site.url}, timeout=5).status_code == 403
        assert browser.post(cancel, headers=public, timeout=5).status_code == 202
        client = site.client(headers={**proxied, **public})
        client.connect()
        assert client.call("watch", {"feed": task["feed"]})["error"]["status"] == 404


class Person(UserMixin):  # type: ignore[misc]
    def __init__(self, name: str) -> None:
        self.id = name


def test_flask_login_says_who_is_asking(redis_url: str) -> None:
    app = plain(redis_url)
    login = LoginManager(app)
    login.user_loader(Person)
    petiole = Petiole(app, SocketIO(app, async_mode="threading"))
    petiole.identify(lambda: current_user.get_id())  # noqa: PLW0108 (who that is, is known in a request only)
    app.register_blueprint(tasks_of(petiole))

    @app.post("/login/<name>")
    def log_in(name: str) -> str:
        login_user(Person(name))
        return name

    @app.post("/logout")
    def log_out() -> str:
        logout_user()
        return "bye"

    with served(app) as site:
        ann, phone = requests.Session(), requests.Session()
        ann.post(f"{site.url}/login/ann", timeout=5)
        task = follow(site, ann)
        is_foreign(site, task)
        monitor = site.url + task["links"]["self"]
        # The same user in another browser, and anonymous after the logout.
        assert phone.get(monitor, timeout=5).status_code == 404
        phone.post(f"{site.url}/login/ann", timeout=5)
        assert phone.get(monitor, timeout=5).status_code == 200
        phone.post(f"{site.url}/logout", timeout=5)
        assert phone.get(monitor, timeout=5).status_code == 404


@pytest.mark.parametrize("manage_session", [True, False])
def test_sessions_may_be_kept_on_the_server(redis_url: str, manage_session: bool) -> None:
    app = plain(redis_url, SESSION_TYPE="redis", SESSION_REDIS=redis.Redis.from_url(redis_url))
    Session(app)
    petiole = Petiole(app, SocketIO(app, async_mode="threading", manage_session=manage_session))
    app.register_blueprint(tasks_of(petiole))

    @app.get("/session")
    def kept() -> list[str]:
        return sorted(session)

    with served(app) as site:
        browser = requests.Session()
        task = follow(site, browser)
        is_foreign(site, task)
        assert "petiole" in browser.get(f"{site.url}/session", timeout=5).json()
        # The cookie has only an id.
        assert "petiole" not in str(browser.cookies.get_dict())


def test_two_applications_live_in_one_process(redis_url: str) -> None:
    apps = [plain(redis_url, SESSION_COOKIE_NAME=f"session{number}") for number in range(2)]
    for app in apps:
        app.register_blueprint(tasks_of(Petiole(app, SocketIO(app, async_mode="threading"))))
    front = Flask("front")
    front.extensions["petiole"] = apps[0].extensions["petiole"]
    mount = DispatcherMiddleware(front.wsgi_app, {"/one": apps[0].wsgi_app, "/two": apps[1].wsgi_app})
    with served(front, mount=lambda _: mount) as site:
        browser = requests.Session()
        one = follow(site, browser, base="/one")
        other = Nearby(apps[1], site.url)
        two = follow(other, browser, base="/two")
        other.clients.pop().close()
        assert requests.Session().get(f"{site.url}/two/petiole/tasks/{one['id']}", timeout=5).status_code == 404
        ids = [
            [task["id"] for task in browser.get(f"{site.url}{base}/petiole/tasks", timeout=5).json()["tasks"]]
            for base in ("/one", "/two")
        ]
        assert ids == [[one["id"]], [two["id"]]]
        apps[1].extensions["petiole"].relay.close()


def celery_init_app(app: Flask) -> Celery:
    """As in Flask's documentation."""

    class FlaskTask(Task):  # type: ignore[misc]
        def __call__(self, *args: object, **kwargs: object) -> object:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(app.name, task_cls=FlaskTask, set_as_current=False)
    celery_app.config_from_object(app.config["CELERY"])
    app.extensions["celery"] = celery_app
    return celery_app


def test_tasks_run_in_the_applications_context_as_flask_documents_it(redis_url: str) -> None:
    app = plain(redis_url, CELERY={"broker_url": redis_url, "task_ignore_result": True}, GREETING="hello")
    celery_app = celery_init_app(app)
    celery_app.conf.update(petiole_key_prefix=app.name, worker_hijack_root_logger=False)

    @celery_app.task(name="set-ups.greet")
    def greet() -> None:
        g.greeted = g.get("greeted", 0) + 1
        progress.log(f"{current_app.config['GREETING']} {g.greeted}")

    init_celery(celery_app)
    petiole = Petiole(app, SocketIO(app, async_mode="threading"))
    app.register_blueprint(tasks_of(petiole))

    @app.post("/greet")
    def start() -> Response:
        return petiole.accepted(petiole.start(greet))

    with served(app) as site, start_worker(celery_app, pool="solo", perform_ping_check=False):
        browser = requests.Session()
        browser.get(f"{site.url}/reports/", timeout=5)
        client = site.client(session=browser)
        for _ in range(2):
            events: list[Event] = []
            view = client.start("/greet", {}, on_event=events.append)
            assert view.wait(timeout=15)["state"] == "succeeded"
            # A separate context for each.
            assert [event.data["message"] for event in events if event.kind == "log"] == ["hello 1"]


def test_an_applications_own_sockets_and_queue_go_on_and_nothing_is_doubled(redis_url: str) -> None:
    channel = f"queue-{uuid.uuid4().hex[:8]}"

    def create_app(prefix: str) -> tuple[Flask, SocketIO]:
        app = plain(redis_url)
        app.config["PETIOLE_KEY_PREFIX"] = prefix
        socketio = SocketIO(app, async_mode="threading", message_queue=redis_url, channel=channel)

        @socketio.on("shout")
        def shout(text: str) -> str:
            emit("shouted", text, broadcast=True)
            return "done"

        petiole = Petiole(app, socketio)
        app.register_blueprint(tasks_of(petiole))
        return app, socketio

    prefix = f"queue-{uuid.uuid4().hex[:8]}"
    (first, _), (second, _) = create_app(prefix), create_app(prefix)
    with served(first) as one, served(second) as two:
        heard: list[list[str]] = [[], []]
        own = []
        for site, ears in zip((one, two), heard, strict=True):
            client = socketio_client.Client()
            client.on("shouted", ears.append)
            client.connect(site.url, transports=["websocket"])
            own.append(client)
        assert own[0].call("shout", "hello", timeout=5) == "done"
        wait_until(lambda: heard == [["hello"], ["hello"]], what="both have received it")
        browser = requests.Session()
        browser.get(f"{one.url}/reports/", timeout=5)
        task = browser.post(f"{one.url}/reports/", json={}, timeout=5).json()
        seen: list[list[Event]] = [[], []]
        views = []
        for site, events in zip((one, two), seen, strict=True):
            follower = site.client(session=browser)
            views.append(follower.watch(task["feed"], cursor=task["cursor"], on_event=events.append))
        for view in views:
            view.wait_until(lambda document: document.get("state") == "queued", timeout=5)
        raw: list[dict[str, Any]] = []
        plainly = socketio_client.Client(http_session=browser)
        plainly.on("event", raw.append, namespace="/petiole")
        plainly.connect(one.url, namespaces=["/petiole"], transports=["websocket"])
        own.append(plainly)
        assert plainly.call("watch", {"feed": task["feed"]}, namespace="/petiole", timeout=5)["recovered"]
        finish(one, task["feed"])
        for view in views:
            assert view.wait(timeout=5)["state"] == "failed"
        assert [[event.kind for event in events] for events in seen] == [["log", "state"]] * 2
        done = threading.Event()
        own[0].emit("shout", "again", callback=lambda *_: done.set())
        assert done.wait(5)
        wait_until(lambda: heard == [["hello", "again"]] * 2, what="both have received it again, once")
        wait_until(lambda: len(raw) >= 2, what="the events arrived")
        assert plainly.call("unwatch", {"feed": task["feed"]}, namespace="/petiole", timeout=5) == {}
        assert sorted(wire["kind"] for wire in raw) == ["log", "state"]
        for client in own:
            client.disconnect()
